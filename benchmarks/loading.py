"""Images a second of the loader, beside its bare per-image work and beside what others use, on the same JPEG bytes.

    python -m benchmarks.loading FOLDER [--images 8000] [--rounds 3] [--cores 2] [--batch 128] [--peers ffcv,dali,…]
                                        [--memory 20 --picture rss.png] [--resume] > report.md

FOLDER holds real JPEG files, ImageNet's for figures to be quoted. Our own job makes a dataset of them, replicated, of
shorter side 256 and quality 90; its JPEG bytes are then written out for the peers (benchmarks/loading_peers.py). Every
round runs everything once, one after another, each in a process of its own on the same cores: a whole epoch to warm
up, then one that is timed. What was installed and written stays under --cache for the next time. `--rounds 0` leaves
the rates out. `--memory` asks whether memory grows over so many epochs, `--resume` what starting in the middle of an
epoch costs. Progress goes to stderr.
"""

import argparse
import itertools
import json
import os
import platform
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import psutil
import pyarrow.parquet as pq
from matplotlib.figure import Figure
from torch import Tensor

from benchmarks.loading_peers import PEERS, RATIO, SCALE, SIDE, Epoch, measure, timed
from benchmarks.loading_setup import WRITERS, FailedError, dataset_of, once, output_of, python_of, write_files
from pipelines.config import LoaderSettings
from pipelines.dataset import columns
from pipelines.dataset.manifest import read_manifest
from pipelines.images.codec import decode
from pipelines.images.transforms import compose
from pipelines.loading.loader import Loader
from pipelines.loading.plan import row_generator

OURS = "Strata"
LIMIT = "its work an image, bare threads (the limit)"
_OUR_WORK = "libjpeg-turbo; area, cubic where it enlarges (OpenCV)"

_EVERY_S = 0.05
T = TypeVar("T")


class Setting(NamedTuple):
    dataset: Path
    """Made by our own job."""
    cores: int
    batch: int

    def loader(self) -> Loader:
        settings = {
            "global_batch": self.batch,
            "decode_threads": self.cores,
            "train_transforms": [
                {"kind": "random_resized_crop", "size": SIDE, "scale": SCALE, "ratio": RATIO},
                {"kind": "random_flip"},
            ],
        }
        return Loader(self.dataset, read_manifest(self.dataset), "train", LoaderSettings.model_validate(settings))

    @property
    def split(self) -> Path:
        return self.dataset / read_manifest(self.dataset).version / "train"


class Result(NamedTuple):
    """Of one loader in one round."""

    rate: float
    """Images a second."""
    cpu_rate: float
    """Images a second of one processor's time."""
    first_s: float
    version: str = ""


def main() -> None:
    asked = _arguments()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: asked.cores])  # of all that is started from here
    os.environ |= {name: str(asked.cores) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    _print_machine(asked)
    setting = Setting(
        apart(dataset_of, asked.originals, asked.images, asked.cache, asked.cores), asked.cores, asked.batch
    )
    if asked.rounds:
        _print_rates(*_rates(setting, asked.peers, asked.rounds, asked.cache, asked.environments))
    if asked.memory:
        _print_memory(apart(_memory, setting, asked.memory), asked.picture)
    if asked.resume:
        _print_resume(setting, max(1, asked.rounds))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loading")
    parser.add_argument("originals", type=Path, metavar="FOLDER", help="real JPEG files, in any tree")
    parser.add_argument("--images", type=int, default=8000, help="replicated to so many")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=2, help="threads or processes of each loader, and its processors")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--peers", type=lambda names: names.split(","), default=list(PEERS), metavar="A,B")
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "strata-benchmarks")
    parser.add_argument("--cache", type=Path, default=home, help="datasets in the formats of all, about 2 GB")
    parser.add_argument("--environments", type=Path, help="the peers' environments, 4 GB; default: in --cache")
    parser.add_argument("--memory", type=int, default=0, metavar="EPOCHS", help="RSS over so many epochs")
    parser.add_argument("--picture", type=Path, help="PNG of that")
    parser.add_argument("--resume", action="store_true", help="time to the first batch, at the start and in the middle")
    asked = parser.parse_args()
    asked.environments = asked.environments or asked.cache / "environments"
    if unknown := set(asked.peers) - {*PEERS, ""}:
        parser.error(f"no peer {', '.join(sorted(unknown))}: there are {', '.join(PEERS)}")
    return asked


# --- what is measured ---------------------------------------------------------------------------


def apart(function: Callable[..., T], *arguments: object) -> T:
    """`function(*arguments)` in a process of its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def _ours(setting: Setting) -> Result:
    def start() -> Epoch:
        loader, numbers = setting.loader(), itertools.count()

        def epoch() -> Iterator[Tensor]:
            with closing(loader.epoch(next(numbers))) as batches:
                yield from (batch.images for batch in batches)

        return epoch

    return _result(measure(start, 1))


def bare_pool(setting: Setting) -> Result:
    """The limit: our function of one image over rows in memory, by threads that wait for nothing, into lasting batches.

    The one place here that knows how the loader makes an image.
    """
    in_use = 4
    files = sorted(setting.split.glob("*.parquet"))
    encoded = [row.as_buffer() for file in files for row in pq.read_table(file, columns=[columns.IMAGE]).column(0)]
    transform = compose(setting.loader().settings.train_transforms)
    images_NHWC = np.empty((in_use, setting.batch, SIDE, SIDE, 3), np.uint8)

    def work(epoch: int, row: int) -> int:
        pixels = transform(decode(encoded[row], 3), row_generator(0, epoch, row))
        images_NHWC[row // setting.batch % in_use, row % setting.batch] = pixels
        return 1

    with ThreadPoolExecutor(setting.cores) as threads:

        def run(epoch: int) -> int:
            return sum(threads.map(partial(work, epoch), range(len(encoded))))

        run(0)
        return _result({"epochs": [timed(partial(run, 1))], "first_s": float("nan")})


def _peer(name: str, setting: Setting, cache: Path, environments: Path) -> Callable[[], Result]:
    """What measures it once. Installs it and writes its format first, if need be; raises FailedError."""
    python = python_of(PEERS[name].environment, environments)
    place = cache / read_manifest(setting.dataset).digest[:12]
    files = once(place / "files", lambda folder: write_files(setting.split, folder))
    data = setting.split if name == "petastorm" else files
    if name in WRITERS:
        data = once(
            place / name, lambda folder: output_of(python, "-m", "benchmarks.loading_setup", name, files, folder)
        )
    command = [python, "-m", "benchmarks.loading_peers", name, files, data]
    options = ["--cores", setting.cores, "--batch", setting.batch]
    rows = read_manifest(setting.dataset).split("train", setting.dataset).rows

    def run() -> Result:
        said = json.loads(output_of(*command, *options, timeout_s=900).splitlines()[-1])
        for images, *_ in said["epochs"]:
            if not rows - setting.cores * setting.batch < images <= rows:
                raise FailedError(f"an epoch had {images} images of {rows}")
        return _result(said)

    return run


def _result(said: dict[str, Any]) -> Result:
    ((images, seconds, cpu_s),) = said["epochs"]
    return Result(images / seconds, images / cpu_s, said["first_s"], said.get("version", ""))


def _rates(
    setting: Setting, peers: list[str], rounds: int, cache: Path, environments: Path
) -> tuple[dict[str, list[Result]], dict[str, str]]:
    """Each round's results by name, and why which peers are left out."""
    runs: dict[str, Callable[[], Result]] = {
        OURS: lambda: apart(_ours, setting),
        LIMIT: lambda: apart(bare_pool, setting),
    }
    left_out: dict[str, str] = {}
    for name in filter(None, peers):
        try:
            runs[name] = _peer(name, setting, cache, environments)
        except FailedError as error:
            left_out[name] = str(error)
    results: dict[str, list[Result]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            if name in left_out:
                continue
            try:
                results[name].append(run())
                print(f"{name}: {results[name][-1].rate:.0f} images/s", file=sys.stderr, flush=True)
            except FailedError as error:
                left_out[name] = str(error)
    return {name: measured for name, measured in results.items() if name not in left_out}, left_out


# --- memory and resuming ------------------------------------------------------------------------


def _memory(setting: Setting, epochs: int) -> tuple[list[tuple[float, int]], list[float]]:
    """(seconds, bytes of RSS) every 50 ms, and the seconds at which each epoch ended."""
    this, begin, ended = psutil.Process(), time.perf_counter(), threading.Event()
    samples: list[tuple[float, int]] = []
    marks: list[float] = []

    def sample() -> None:
        while not ended.wait(_EVERY_S):
            samples.append((time.perf_counter() - begin, this.memory_info().rss))

    thread = threading.Thread(target=sample)
    thread.start()
    loader = setting.loader()
    for epoch in range(epochs):
        with closing(loader.epoch(epoch)) as batches:
            for _ in batches:
                pass
        marks.append(time.perf_counter() - begin)
    ended.set()
    thread.join()
    return samples, marks


def _first_batch_s(setting: Setting, in_the_middle: bool) -> float:
    begin = time.perf_counter()
    loader = setting.loader()
    with closing(loader.epoch(0, loader.steps_per_epoch // 2 if in_the_middle else 0)) as batches:
        next(batches)
        return time.perf_counter() - begin


# --- the report ---------------------------------------------------------------------------------


def _print_machine(asked: argparse.Namespace) -> None:
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    print(
        f"{time.strftime('%Y-%m-%d')}, {asked.cores} of {len(models)} cores of {models[0].partition(': ')[2]}, "
        f"load average {os.getloadavg()[0]:.1f} before, Python {platform.python_version()}. "
        f"{asked.images:,} images from {asked.originals.name}, shorter side 256, JPEG of quality 90, in the page "
        f"cache, to {SIDE} x {SIDE}, batches of {asked.batch}; {asked.rounds} rounds.\n"
    )


def _print_rates(results: dict[str, list[Result]], left_out: dict[str, str]) -> None:
    print("| | images/s, median | min to max | Strata is, times | images/CPU s | first batch, s | decoding; filter |")
    print("|---|---:|---:|---:|---:|---:|---|")
    for name, measured in results.items():
        peer = PEERS.get(name)
        title = f"{peer.title} {measured[0].version}" if peer else name
        rates = [result.rate for result in measured]
        ratio = statistics.median(ours.rate / its for ours, its in zip(results[OURS], rates, strict=True))
        first_s = statistics.median(result.first_s for result in measured)
        cells = [
            title,
            f"{statistics.median(rates):.0f}",
            f"{min(rates):.0f} to {max(rates):.0f}",
            f"{ratio:.2f}",
            f"{statistics.median(result.cpu_rate for result in measured):.0f}",
            "" if name == LIMIT else f"{first_s:.2f}",
            peer.work if peer else _OUR_WORK,
        ]
        print(f"| {' | '.join(cells)} |")
    for name, reason in left_out.items():
        print(f"\n{PEERS[name].title} is left out: {reason}")


def _print_memory(measured: tuple[list[tuple[float, int]], list[float]], picture: Path | None) -> None:
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


def _print_resume(setting: Setting, rounds: int) -> None:
    seconds = [[apart(_first_batch_s, setting, middle) for middle in (False, True)] for _ in range(rounds)]
    start_s, middle_s = (statistics.median(times) for times in zip(*seconds, strict=True))
    print(f"\nFirst batch, median of {rounds}: {start_s:.2f} s at step 0, {middle_s:.2f} s in the middle of an epoch.")


if __name__ == "__main__":
    main()
