"""Other batches than the dataset's, to find mistakes and to measure; profiles and records of what is done."""

import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from pipelines.training.loop import LabelledImages, TrainLoader
from pipelines.training.workers import Workers


@dataclass(frozen=True)
class OneBatch:
    """A batch on its device: images uint8 (N, H, W, C), labels int64 (N,), N keys."""

    images: Tensor
    labels: Tensor
    keys: tuple[str, ...]


@dataclass(frozen=True)
class SameBatch:
    """Gives one batch in every step; it is made when the first one is asked for."""

    steps_per_epoch: int
    make: Callable[[], OneBatch]

    def epochs(self, epochs: range, start_step: int = 0) -> Generator[OneBatch, None, None]:
        """start_step: of the first of the epochs."""
        batch = self.make()
        for _ in range(len(epochs) * self.steps_per_epoch - start_step):
            yield batch


def first_of(loader: TrainLoader) -> OneBatch:
    """A copy of the first batch of the first epoch, for the loader would use its memory again."""
    with closing(loader.epochs(range(1))) as batches:
        batch = next(batches)
        return OneBatch(batch.images.clone(), batch.labels.clone(), batch.keys)


def random_batch(shape: tuple[int, ...], classes: int, seed: int, device: torch.device) -> OneBatch:
    """Even noise and labels, drawn on the CPU, so that they are the same on any device. shape: (N, H, W, C)."""
    draws = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, shape, generator=draws, dtype=torch.uint8)
    labels = torch.randint(0, classes, shape[:1], generator=draws)
    return OneBatch(images.to(device), labels.to(device), tuple(f"random-{place}" for place in range(shape[0])))


@dataclass(frozen=True)
class Profiled:
    """The same batches; what happens in a few of the steps on them goes to a file."""

    source: TrainLoader
    file: Path
    first: int = 10
    """Steps before it begins, if there are as many: first steps are slower than others."""
    count: int = 5

    @property
    def steps_per_epoch(self) -> int:
        return self.source.steps_per_epoch

    def epochs(self, epochs: range, start_step: int = 0) -> Generator[LabelledImages, None, None]:
        steps = len(epochs) * self.steps_per_epoch - start_step
        with closing(self.source.epochs(epochs, start_step)) as batches:
            yield from _up_to(max(0, min(self.first, steps - self.count)), batches)
            with traced(self.file):
                yield from _up_to(self.count, batches)
            yield from batches


def _up_to(count: int, batches: Iterator[LabelledImages]) -> Iterator[LabelledImages]:
    """The next ones, so many or fewer; ends when the step on the last of them is over."""
    for _ in range(count):
        try:
            batch = next(batches)
        except StopIteration:
            return
        yield batch


@contextmanager
def traced(file: Path) -> Iterator[None]:
    """Profile what this process and its GPU do meanwhile, as a Chrome trace; however it ends, there is one."""
    gpu = [ProfilerActivity.CUDA] if torch.cuda.is_available() else []
    profiler = profile(activities=[ProfilerActivity.CPU, *gpu])
    try:
        with profiler:
            yield
    finally:
        file.parent.mkdir(parents=True, exist_ok=True)
        profiler.export_chrome_trace(str(file))


class Recorded:
    """The same batches; what is trained on in each step is written down, to be there even if this process is killed.

    samples-*.tsv, one for each worker: when (seconds since 1970), the step (from 1, through all epochs), the worker, a
    word that is the same for all workers that do the step together, and the keys.
    """

    def __init__(self, source: TrainLoader, folder: Path, workers: Workers) -> None:
        self.source = source
        self._rank = workers.rank
        word = os.urandom(4).hex()
        self._together = workers.share_bytes(word.encode() if workers.rank == 0 else None).decode()
        self._file = folder / f"samples-{self._together}-{workers.rank}.tsv"

    @property
    def steps_per_epoch(self) -> int:
        return self.source.steps_per_epoch

    def epochs(self, epochs: range, start_step: int = 0) -> Generator[LabelledImages, None, None]:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        done = epochs.start * self.steps_per_epoch + start_step
        with closing(self.source.epochs(epochs, start_step)) as batches, self._file.open("a", buffering=1) as file:
            for step, batch in enumerate(batches, start=done + 1):
                words = (f"{time.time():.3f}", str(step), str(self._rank), self._together, *batch.keys)
                file.write("\t".join(words) + "\n")
                yield batch
