"""What the loader takes of memory, epoch after epoch, and how long its first batch takes."""

import itertools
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import psutil
from matplotlib.figure import Figure

from pipelines.loading.loader import Loader

_EVERY_S = 0.05


def memory(make_loader: Callable[[], Loader], epochs: int) -> tuple[list[tuple[float, int]], list[float]]:
    """(seconds, bytes of RSS) every 50 ms, and the seconds at which each epoch ended."""
    this, begin, ended = psutil.Process(), time.perf_counter(), threading.Event()
    samples: list[tuple[float, int]] = []
    marks: list[float] = []

    def sample() -> None:
        while not ended.wait(_EVERY_S):
            samples.append((time.perf_counter() - begin, this.memory_info().rss))

    thread = threading.Thread(target=sample)
    thread.start()
    loader = make_loader()
    with closing(loader.epochs(range(epochs))) as batches:
        for number, _ in enumerate(batches, start=1):
            if number % loader.steps_per_epoch == 0:
                marks.append(time.perf_counter() - begin)
    ended.set()
    thread.join()
    return samples, marks


def first_batch_s(make_loader: Callable[[], Loader], in_the_middle: bool) -> float:
    """Seconds from nothing to the first batch of an epoch, or of its second half."""
    begin = time.perf_counter()
    loader = make_loader()
    with closing(loader.epoch(0, loader.steps_per_epoch // 2 if in_the_middle else 0)) as batches:
        next(batches)
        return time.perf_counter() - begin


def print_memory(measured: tuple[list[tuple[float, int]], list[float]], picture: Path | None) -> None:
    samples, marks = measured
    print("\n| epoch | largest RSS, MiB |\n|---:|---:|")
    for number, (start, end) in enumerate(itertools.pairwise([0.0, *marks])):
        inside = [rss for at, rss in samples if start <= at < end]
        print(f"| {number} | {max(inside) / 2**20:.0f} |")
    if picture:
        figure = Figure(figsize=(8, 3.5), layout="constrained")
        axes = figure.add_subplot(
            xlabel="seconds", ylabel="RSS, MiB", title="The loader's process; lines: ends of epochs"
        )
        axes.plot([at for at, _ in samples], [rss / 2**20 for _, rss in samples], linewidth=1)
        for mark in marks:
            axes.axvline(mark, color="0.8", linewidth=0.8, zorder=0)
        axes.set_ylim(bottom=0)
        figure.savefig(picture, dpi=150)


def print_resume(seconds: Sequence[Sequence[float]]) -> None:
    """seconds: pairs of `first_batch_s`, at the start and in the middle."""
    start_s, middle_s = (statistics.median(times) for times in zip(*seconds, strict=True))
    print(f"\nFirst batch, median of {len(seconds)}: {start_s:.2f} s at step 0, {middle_s:.2f} s in mid-epoch.")
