"""Images a second of preprocessing, against its own per-image function without Spark and against what others use.

    python -m benchmarks.preprocess FOLDER [--images 16000] [--rounds 3] [--cores 2]
                                           [--memory 1000,50000] [--listing 1280000] > report.md

FOLDER holds real JPEG files, ImageNet's for figures to be quoted. They are replicated by hard links, so that they stay
in the page cache: what is measured is the processor, not the disk. Every round runs everything once, warmed up, so that
noise hits all alike; `--rounds 0` leaves the rates out. `--memory` asks whether a worker's memory grows with the
dataset, `--listing` what listing a training tar of so many images costs. What requirements.txt names is optional.

A file of the dataset is a Spark task, and a task has a fixed cost. Four files a core are written,
one default wave: the more images, the closer to the 8,192 a file that users get. Progress goes to stderr.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

from pyspark.sql import SparkSession

from benchmarks import peers
from benchmarks.apart import apart
from benchmarks.job import replicate, run_job, settings_for, start_session
from benchmarks.machine import machine_line
from benchmarks.memory import Cost, job_cost, listing_cost

Rates = dict[str, list[float]]
"""Images a second of each round, by name."""

OURS = "Strata, its waves of files (steady state)"
LIMIT = "the same function, bare threads (the limit)"
PETASTORM = "Petastorm's row encoder in Spark, rows alone"
PETASTORM_PNG = "the same with PNG, as in Petastorm's own ImageNet example"

_FILES_PER_CORE = 4
_FEW_PER_CORE = 64
_CHUNK = 16
_PACKAGES = ("pyspark", "petastorm", "pyarrow", "numpy", "opencv-python-headless", "simplejpeg", "pillow")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.preprocess")
    parser.add_argument("originals", type=Path, metavar="FOLDER", help="real JPEG files, in any tree")
    parser.add_argument("--images", type=int, default=16_000, help="replicated to so many")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--memory", default="", metavar="A,B", help="peak memory of the job at these sizes")
    parser.add_argument(
        "--listing", type=int, default=0, metavar="N", help="cost of listing a training tar of N images"
    )
    asked = parser.parse_args()
    print(f"{machine_line(asked.cores, *_PACKAGES)} Shorter side 256, JPEG of quality 90.")
    if asked.rounds:
        print(f"{asked.images:,} images from {asked.originals.name}, {asked.rounds} rounds.\n")
        _print_rates(_rates(asked.originals, asked.images, asked.rounds, asked.cores))
    if asked.memory:
        sizes = [int(size) for size in asked.memory.split(",")]
        _print_memory({size: apart(job_cost, asked.originals, size, asked.cores) for size in sizes})
    if asked.listing:
        cost = apart(listing_cost, asked.listing)
        print(
            f"\nListing, shuffling, cutting and packing {asked.listing:,} images of a sparse training tar: "
            f"{cost.seconds:.1f} s, driver's peak RSS {_mib(cost.driver_bytes)} MiB."
        )


# --- rates --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Round:
    """Everything that is compared, on the same files; each of a round's measurements is seconds by name."""

    spark: SparkSession
    cores: int
    start_s: float
    """Of the session and its first small job, which starts the Python workers."""
    threads: Executor
    processes: Executor
    files: list[str]
    few: list[str]
    """Enough to start every worker."""
    folder: Path
    """With `all` and `few` as sources; the rest is free."""

    def __call__(self) -> Iterator[dict[str, float]]:
        yield self._ours()
        yield {LIMIT: self._pooled(peers.bare, self.threads)}
        yield {"the same function, bare processes": self._pooled(peers.bare, self.processes)}
        whole_s, rows_s = self._petastorm("jpeg")
        yield {PETASTORM: rows_s, "Petastorm's row encoder in Spark, with its metadata": whole_s}
        yield {PETASTORM_PNG: self._petastorm("png")[1]}
        yield {"Pillow in processes": self._pooled(peers.pillow, self.processes)}
        yield {"Pillow in processes, scaled decoding": self._pooled(peers.pillow_scaled, self.processes)}
        if find_spec("img2dataset"):
            yield {"img2dataset's resizer in processes": self._pooled(peers.img2dataset, self.processes)}

    def _ours(self) -> dict[str, float]:
        self._job("few", self.few)
        whole_s, waves_s = self._job("all", self.files)
        return {
            OURS: waves_s,
            "Strata, the whole call (listing, metadata, report too)": whole_s,
            "Strata, the whole call and the session's start": self.start_s + whole_s,
        }

    def _job(self, source: str, files: Sequence[str]) -> tuple[float, float]:
        rows_per_file = -(-len(files) // (_FILES_PER_CORE * self.cores))
        settings = settings_for(self.folder / source, self.folder / "ours", rows_per_file=rows_per_file)
        seconds = run_job(self.spark, settings)
        shutil.rmtree(self.folder / "ours")
        return seconds

    def _petastorm(self, codec: Literal["jpeg", "png"]) -> tuple[float, float]:
        for files in (self.few, self.files):
            place = self.folder / "petastorm"
            seconds = peers.petastorm_job(self.spark, files, place, _FILES_PER_CORE * self.cores, codec)
            shutil.rmtree(place)
        return seconds

    def _pooled(self, function: Callable[[str], int], pool: Executor) -> float:
        for files in (self.few, self.files):
            start = time.perf_counter()
            stored_bytes = sum(pool.map(function, files, chunksize=_CHUNK))
            assert stored_bytes, "real images leave something"
        return time.perf_counter() - start


def _rates(originals: Path, images: int, rounds: int, cores: int) -> Rates:
    rates: Rates = defaultdict(list)
    with (
        tempfile.TemporaryDirectory(prefix="strata-benchmark-") as folder,
        ThreadPoolExecutor(cores) as threads,
        ProcessPoolExecutor(cores, get_context("spawn")) as processes,
    ):
        files = replicate(originals, images, Path(folder, "all"))
        few = replicate(originals, _FEW_PER_CORE * cores, Path(folder, "few"))
        start = time.perf_counter()
        spark = start_session(cores)
        session_s = time.perf_counter() - start
        first_s, _ = run_job(spark, settings_for(Path(folder, "few"), Path(folder, "first")))
        print(f"Spark's session started in {session_s:.1f} s, its first small job took {first_s:.1f} s.\n")
        measure = _Round(spark, cores, session_s + first_s, threads, processes, files, few, Path(folder))
        for _ in range(rounds):
            for name, seconds in (measured for part in measure() for measured in part.items()):
                rates[name].append(images / seconds)
                print(f"{name}: {rates[name][-1]:.1f} images/s", file=sys.stderr, flush=True)
        spark.stop()
    return rates


# --- the report ---------------------------------------------------------------------------------


def _print_rates(rates: Rates) -> None:
    print("| | images/s, median | min to max | of the limit |\n|---|---:|---:|---:|")
    for name, measured in rates.items():
        middle = f"{statistics.median(measured):.0f} | {min(measured):.0f} to {max(measured):.0f}"
        print(f"| {name} | {middle} | {_ratio(rates, name, LIMIT):.2f} |")
    if not find_spec("img2dataset"):
        print("\nimg2dataset is not installed: see benchmarks/requirements.txt.")
    print(
        f"\nTargets: steady state {_ratio(rates, OURS, LIMIT):.2f} of the limit (0.9 or more), "
        f"{_ratio(rates, OURS, PETASTORM):.2f} times Petastorm's row encoder (2.5 or more), "
        f"{_ratio(rates, OURS, PETASTORM_PNG):.2f} times with PNG."
    )


def _ratio(rates: Rates, name: str, other: str) -> float:
    """The median of each round's own ratio."""
    return statistics.median(mine / its for mine, its in zip(rates[name], rates[other], strict=True))


def _print_memory(costs: dict[int, Cost]) -> None:
    print("\n| images | largest Python worker, MiB | driver's Python, MiB | s |\n|---:|---:|---:|---:|")
    for size, cost in costs.items():
        print(f"| {size:,} | {_mib(cost.worker_bytes)} | {_mib(cost.driver_bytes)} | {cost.seconds:.0f} |")
    workers = [cost.worker_bytes for cost in costs.values()]
    print(f"\nTarget: a worker's peak grows {workers[-1] / workers[0]:.2f} times (1.2 or less).")


def _mib(size_bytes: int) -> int:
    return round(size_bytes / 2**20)


if __name__ == "__main__":
    main()
