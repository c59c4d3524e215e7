"""Ends a training whose loss or weights are no longer finite, on all workers alike, and names the images."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pipelines.config import InputError
from pipelines.training.workers import Workers

NAMED = 8
"""Keys in the message; all of them are in the file."""


@dataclass(frozen=True)
class _Seen:
    """A step's images and losses: on the device, for no step waits to know whether they are finite."""

    step: int
    keys: tuple[str, ...]
    losses: Sequence[Tensor]

    @property
    def finite(self) -> Tensor:
        return torch.stack([*self.losses]).isfinite().all()


class FiniteWatch:
    """Remembers the images of the steps since the last check, and those of the step before them.

    For it may be that step's update that spoils the first loss after the check.
    """

    def __init__(self, workers: Workers, folder: Path) -> None:
        self._workers = workers
        self._file = folder / "diverged.tsv"
        self._seen: list[_Seen] = []

    def saw(self, step: int, keys: tuple[str, ...], losses: Sequence[Tensor]) -> None:
        """losses: of this worker's micro-batches in the step."""
        self._seen.append(_Seen(step, keys, losses))

    def check_loss(self, loss_sum: float) -> None:
        """loss_sum: of all workers since the last check. Raises InputError on all of them if it is not finite."""
        if not math.isfinite(loss_sum):
            self._end("the loss became")
        self._seen = self._seen[-1:]

    def check_weights(self, model: nn.Module) -> None:
        """Raises InputError on all workers if a weight or a running statistic of any is not finite."""
        tensors = [*model.parameters(), *(buffer for buffer in model.buffers() if buffer.is_floating_point())]
        bad = torch.stack([~tensor.isfinite().all() for tensor in tensors]).any()
        if float(self._workers.sum(bad.double().cpu())):
            self._end("the weights became")

    def _end(self, what: str) -> None:
        bad = self._workers.sum(torch.stack([seen.finite for seen in self._seen]).logical_not().double().cpu())
        steps = [seen.step for seen in self._seen]
        first = next((step for step, workers in zip(steps, bad.tolist(), strict=True) if workers), steps[-1])
        ours = [[seen.step, bool(seen.finite), seen.keys] for seen in self._seen]
        by_worker = [json.loads(part) for part in self._workers.gather_bytes(json.dumps(ours).encode())]
        if self._workers.rank == 0:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_text("".join(_lines(by_worker)))
        raise InputError(
            f"{what} infinite or not a number at step {first + 1}, found at step {steps[-1] + 1}; its images: "
            f"{_shortened(_suspects(by_worker, first))}. {self._file} lists those of steps {steps[0] + 1} to "
            f"{steps[-1] + 1}. The checkpoints of the epochs before are kept. Look at the images, lower optimizer.lr, "
            "raise schedule.warmup_epochs or set clip_norm"
        )


ByWorker = Sequence[Sequence[tuple[int, bool, Sequence[str]]]]
"""Of each worker, each step: its number from 0, whether its loss was finite, the keys of its images."""


def _suspects(by_worker: ByWorker, step: int) -> list[str]:
    """Keys of the step's images: those of the workers whose own loss was not finite, or of all if it was."""
    there = [(finite, keys) for worker in by_worker for number, finite, keys in worker if number == step]
    everywhere = all(finite for finite, _ in there)
    return [key for finite, keys in there if everywhere or not finite for key in keys]


def _shortened(keys: list[str]) -> str:
    more = f" and {len(keys) - NAMED} more" if len(keys) > NAMED else ""
    return ", ".join(keys[:NAMED]) + more


def _lines(by_worker: ByWorker) -> Iterator[str]:
    yield "step\tworker\tkey\n"
    for rank, worker in enumerate(by_worker):
        for step, _, keys in worker:
            yield from (f"{step + 1}\t{rank}\t{key}\n" for key in keys)
