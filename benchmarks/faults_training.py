"""A training that faults are injected into: its command, its processes, and what it wrote down of its samples."""

import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import torch

from pipelines.training.checkpoint import newest_first, read_checkpoint
from pipelines.training.workers import Solo

PATIENCE_S = 900


@dataclass(frozen=True)
class Done:
    """One worker's part of one step: a line of record_samples."""

    time_s: float
    """Since 1970."""
    step: int
    together: str
    """The same for all workers that did the step together."""
    keys: tuple[str, ...]


def samples_of(runs: Path) -> list[Done]:
    """What the workers of a runs_dir wrote down until now, of all of them, in the order of time."""
    done = []
    for file in runs.glob("*/samples-*.tsv"):
        for line in file.read_text().splitlines(keepends=True):
            if line.endswith("\n"):  # the last one may be half-written
                at, step, _, together, *keys = line.rstrip("\n").split("\t")
                done.append(Done(float(at), int(step), together, tuple(keys)))
    return sorted(done, key=lambda one: one.time_s)


def kept(samples: Sequence[Done]) -> dict[int, Counter[str]]:
    """Of each step the keys that are in the weights: those of the workers who did it last."""
    last = {one.step: one.together for one in samples}
    keys: dict[int, Counter[str]] = {step: Counter() for step in last}
    for one in samples:
        if one.together == last[one.step]:
            keys[one.step].update(one.keys)
    return keys


def redone(samples: Sequence[Done]) -> int:
    """Steps that were begun more than once, as often as they were begun again."""
    return len({(one.step, one.together) for one in samples}) - len({one.step for one in samples})


@dataclass
class Training:
    """A command of jobs/train.py, with horovodrun before it, in a folder of its own."""

    folder: Path
    launcher: list[str]
    arguments: list[str]
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    def launch(self) -> None:
        """Give the command (again), its output behind what is in the log."""
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = [f"runs_dir={self.runs}", "record_samples=true", f"tracking.uri=sqlite:///{self.folder}/mlflow.db"]
        settings.append(f"tracking.artifacts={self.folder}/artifacts")
        with (self.folder / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.launcher, "python", "jobs/train.py", *self.arguments, *settings], stdout=log, stderr=log
            )

    def ended(self) -> bool:
        assert self.process is not None, "launched"
        return self.process.poll() is not None

    def over(self) -> bool:
        """Whether rank 0 has said what it made, which is the last that it does."""
        return "next: python jobs/evaluate.py" in self.printed()

    def status(self) -> int:
        """With which it ends."""
        assert self.process is not None, "launched"
        return self.process.wait()

    def printed(self) -> str:
        return (self.folder / "log.txt").read_text()

    def wait_until(self, happened: Callable[[], bool]) -> bool:
        """False if the command ends before that; RuntimeError if neither comes."""
        deadline = time.monotonic() + PATIENCE_S
        while not happened():
            if self.ended():
                return happened()
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.folder}/log.txt: nothing happened for {PATIENCE_S} s")
            time.sleep(0.2)
        return True

    def wait_until_steps_follow(self) -> bool:
        """Those that are written down already do not count; False if the command ends before."""
        before = self._bytes_of_samples()
        return self.wait_until(lambda: self._bytes_of_samples() > before)

    def wait_for_others_than(self, known: Collection[str]) -> list[Done]:
        """What workers of other words than these did together, once they have; empty if the command ends before."""
        found: list[Done] = []

        def done() -> bool:
            found[:] = [one for one in samples_of(self.runs) if one.together not in known]
            return bool(found)

        self.wait_until(done)
        return found

    def _bytes_of_samples(self) -> int:
        return sum(file.stat().st_size for file in self.runs.glob("*/samples-*.tsv"))

    def workers(self) -> list[psutil.Process]:
        """Its workers, also of a launcher that is dead; the one that came first, which is rank 0, first."""
        found = []
        for process in psutil.process_iter():
            try:
                words = process.cmdline()
                if words[1:2] == ["jobs/train.py"] and f"runs_dir={self.runs}" in words:
                    found.append((int(process.environ()["HOROVOD_RANK"]), process.create_time(), process))
            except (psutil.Error, KeyError):  # it has just ended
                continue
        return [process for _, _, process in sorted(found, key=lambda one: one[:2])]

    def kill_all(self) -> None:
        """What is still there of it."""
        if self.process is not None and not self.ended():
            self.process.kill()
        for worker in self.workers():
            os.kill(worker.pid, 9)

    def weights(self) -> dict[str, torch.Tensor]:
        """Of the newest checkpoint."""
        (checkpoints,) = self.runs.glob("*/checkpoints")
        return read_checkpoint(newest_first(checkpoints)[0], Solo()).model
