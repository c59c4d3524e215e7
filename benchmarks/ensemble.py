"""Seconds and memory of each question to an ensemble, as members and images grow, against numpy without Spark.

    python -m benchmarks.ensemble [--sizes 10x10000,40x10000] [--classes 1000] [--orders 20] [--cores 2]
                                  [--work work/benchmarks/ensemble] > report.md

The predictions are made: softmax of normal scores, seeded, stored as jobs/evaluate.py stores them. Spark has the memory
that it has by itself. 100x50000, a hundred members on ImageNet's validation images, takes an estimated 50 GB of disk
and half an hour. The limit is the first question asked of the same files by a process a core: pyarrow reads all
members' rows of a part of the images, which here lie in one order in all files, so that nothing has to be brought
together, and numpy averages and ranks them. Progress goes to stderr.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, redirect_stdout
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq

from benchmarks.apart import apart
from benchmarks.job import start_session
from benchmarks.machine import machine_line
from benchmarks.memory import Cost, PeakRss
from pipelines.evaluation.combining import orders_of
from pipelines.evaluation.ensemble import Together
from pipelines.evaluation.members import errors, read_members
from pipelines.evaluation.outcomes import Doubles, outcomes_of
from pipelines.evaluation.predictions import PredictionWriter, Source
from pipelines.evaluation.tally import Evaluation, Tally

_AT_ONCE = 2000
"""Images, where predictions are made."""


class Size(NamedTuple):
    members: int
    images: int
    classes: int

    @property
    def runs(self) -> list[str]:
        return [f"run{member:03d}" for member in range(self.members)]


class Asked(NamedTuple):
    """Of one size: seconds of each question, and the largest memory of all of them."""

    seconds: dict[str, float]
    error: float
    cost: Cost


def main() -> None:
    asked = _arguments()
    print(machine_line(asked.cores, "pyspark", "pyarrow", "numpy"))
    for text in asked.sizes.split(","):
        members, images = map(int, text.split("x"))
        size, folder = Size(members, images, asked.classes), asked.work / text
        stored_bytes = write(size, folder)
        found = apart(ask, size, folder, asked.orders, asked.cores)
        print(_table(size, stored_bytes, found, limit(size, folder, asked.cores)), flush=True)
        shutil.rmtree(folder)


def write(size: Size, folder: Path) -> int:
    """Predictions of so many members, in which an image's label has a higher score than others; their bytes."""
    draws = np.random.default_rng(0)
    labels = draws.integers(size.classes, size=size.images)
    keys = [f"ILSVRC2012_val_{number:08d}" for number in range(size.images)]
    shutil.rmtree(folder, ignore_errors=True)
    for run in size.runs:
        with PredictionWriter(folder, Source(run, "as_trained", "digest", "classes"), 0, lambda: None) as writer:
            for start in range(0, size.images, _AT_ONCE):
                part = labels[start : start + _AT_ONCE]
                scores = 2 * draws.standard_normal((len(part), size.classes), dtype=np.float32)
                scores[np.arange(len(part)), part] += 5
                powers = np.exp(scores)
                probabilities = powers / powers.sum(1, keepdims=True)
                writer.write(keys[start : start + len(part)], probabilities, outcomes_of(probabilities, part))
        print(f"made {folder / run}", file=sys.stderr, flush=True)
    return sum(file.stat().st_size for file in folder.rglob("*.parquet"))


def ask(size: Size, folder: Path, orders: int, cores: int) -> Asked:
    """What jobs/ensemble.py asks, one after another."""
    tempfile.tempdir = str(folder)  # a spawned process ends without removing what the session leaves
    os.environ["SPARK_LOCAL_DIRS"] = str(folder.absolute())  # larger than the predictions
    with PeakRss() as peak, redirect_stdout(sys.stderr):
        spark = start_session(cores)
        seconds: dict[str, float] = {}
        equal, along = np.full(size.members, 1 / size.members), orders_of(size.members, orders, 0)
        with _timing(seconds, "reading and checking"):
            members = read_members(spark, folder, size.runs)
        with _timing(seconds, "errors of the members"):
            errors(members)
        together = Together(members, size.runs)
        with _timing(seconds, _FIRST):
            evaluation = together.evaluate(equal, False)
        with _timing(seconds, f"the curve, {len(along)} orders"):
            together.curve(along, False)
        with _timing(seconds, "agreement"):
            together.agreement()
        with _timing(seconds, "one step of the greedy selection"):
            together.errors_with_each([0], False)
        with _timing(seconds, "fitted weights"):
            together.fitted_weights()
        with _timing(seconds, "its own predictions"):
            together.write_predictions(folder, "all", equal, False)
        together.close()
        spark.stop()
    return Asked(seconds, evaluation.top1_error, peak.cost())


_FIRST = "bringing together, and the ensemble's errors"


@contextmanager
def _timing(seconds: dict[str, float], what: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[what] = time.perf_counter() - start
    print(f"{what}: {seconds[what]:.1f} s", file=sys.stderr, flush=True)


def limit(size: Size, folder: Path, cores: int) -> tuple[float, float]:
    """Seconds and top-1 error of the average, by numpy."""
    groups = pq.read_metadata(folder / size.runs[0] / "part-00000.parquet").num_row_groups
    with ProcessPoolExecutor(cores, get_context("spawn")) as processes:
        list(processes.map(abs, range(cores)))  # they have started
        start = time.perf_counter()
        sums = sum(processes.map(partial(average_group, size, folder), range(groups)))
        seconds = time.perf_counter() - start
    return seconds, Evaluation.of(np.asarray(sums), size.classes).top1_error


def average_group(size: Size, folder: Path, group: int) -> Doubles:
    """What one row group's images add to the tally."""
    total = np.zeros(())
    for run in size.runs:
        table = pq.ParquetFile(folder / run / "part-00000.parquet").read_row_group(group, ["label", "probabilities"])
        values = table.column("probabilities").combine_chunks().flatten().to_numpy()
        total = total + values.reshape(-1, size.classes).astype(np.float64)
    tally = Tally(size.classes)
    tally.add(outcomes_of(total / size.members, table.column("label").to_numpy().astype(np.int64)))
    return tally.sums


def _table(size: Size, stored_bytes: int, asked: Asked, bare: tuple[float, float]) -> str:
    seconds, error = bare
    assert abs(error - asked.error) * size.images < 1, "both count the same"
    lines = [
        f"\n{size.members} members, {size.images:,} images, {size.classes:,} classes: {stored_bytes / 1e9:.2f} GB.\n",
        "| question | s |\n|---|---:|",
        *(f"| {what} | {took:.1f} |" for what, took in asked.seconds.items()),
        f"| numpy and pyarrow without Spark, the ensemble's errors (the limit) | {seconds:.1f} |",
        f"\nThe limit is {seconds / asked.seconds[_FIRST]:.2f} of the first pass. Largest memory: JVM "
        f"{asked.cost.jvm_bytes >> 20:,} MiB, a Python worker {asked.cost.worker_bytes >> 20:,} MiB, the driver's "
        f"Python {asked.cost.driver_bytes >> 20:,} MiB.",
    ]
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="10x10000,40x10000", metavar="MEMBERSxIMAGES,…")
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--orders", type=int, default=20)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("work/benchmarks/ensemble"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
