"""What a training goes on from when workers are lost or told to go, and what those do that remain."""

import signal
import sys
from pathlib import Path
from typing import NoReturn, Protocol

from pipelines.training.checkpoint import Checkpoint, newest_good


class WorkersChanged(Exception):  # noqa: N818  # nothing is wrong
    """Raised after the same step on all workers that stay: the training is to be built anew, for those of then."""


class Recovery(Protocol):
    """Restart, or Elastic in elastic.py."""

    def commits_after(self, step: int) -> bool:
        """Whether `commit` is due, though no checkpoint need be."""
        ...

    def commit(self, checkpoint: Checkpoint) -> None:
        """Take note of the state of all workers; each of them comes here after the same step."""
        ...

    def newest(self, folder: Path) -> bytes:
        """The checkpoint to go on from, as rank 0 has it, of those in `folder` and those noted; empty: none."""
        ...

    def hosts_changed(self) -> bool:
        """Whether this worker has heard of hosts that joined or left since the training was built."""
        ...

    def leave(self, step: int, rank: int, told: str) -> NoReturn:
        """All workers stop after `step`, which is saved: some of them were told to end, or hosts changed.

        told: the signal that this worker heard; empty: none.
        """
        ...


class Restart:
    """Whoever started the command starts it again: the state is on disk, and all workers end together."""

    def commits_after(self, step: int) -> bool:
        return False

    def commit(self, checkpoint: Checkpoint) -> None:
        pass

    def newest(self, folder: Path) -> bytes:
        return newest_good(folder)

    def hosts_changed(self) -> bool:
        return False

    def leave(self, step: int, rank: int, told: str) -> NoReturn:
        name = told or "SIGTERM"
        if rank == 0:
            print(f"stopped by {name} after step {step}; the same command goes on from there", flush=True)
        sys.exit(128 + signal.Signals[name])
