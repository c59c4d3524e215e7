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
import json
import os
import statistics
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow.parquet as pq

from benchmarks.apart import apart
from benchmarks.loading_memory import first_batch_s, memory, print_memory, print_resume
from benchmarks.loading_peers import PEERS, RATIO, SCALE, SIDE, Epoch, measure, timed
from benchmarks.loading_setup import WRITERS, FailedError, dataset_of, once, output_of, python_of, write_files
from benchmarks.machine import machine_line
from pipelines.config import LoaderSettings
from pipelines.dataset.manifest import read_manifest
from pipelines.images.augmentation import Drawn
from pipelines.loading.buffers import Buffers
from pipelines.loading.decoding import BatchDecoder, chunks
from pipelines.loading.loader import Loader
from pipelines.loading.plan import row_draws
from pipelines.loading.rows import Rows

OURS = "Strata"
AREA = "the same with areas where it shrinks"
LIMIT = "its work an image, bare threads (the limit)"
_OUR_WORK = (
    "libjpeg-turbo, the part alone; bilinear (OpenCV)",
    "libjpeg-turbo, the part alone; area, bilinear where it enlarges (OpenCV)",
)
_LASTING_BATCHES = 4
_LANES = 8
"""Their windows hold all row groups of 8,000 images at once; more lanes would only cut more row groups in two."""

T = TypeVar("T")


class Setting(NamedTuple):
    originals: Path
    images: int
    """The originals, replicated to so many."""
    dataset: Path
    """Of them, made by our own job."""
    cores: int
    batch: int

    def loader(self, interpolation: str = "linear") -> Loader:
        crop = {"kind": "random_resized_crop", "size": SIDE, "scale": SCALE, "ratio": RATIO}
        settings = {
            "global_batch": self.batch,
            "lanes": _LANES,
            "decode_threads": self.cores,
            "train_transforms": [crop | {"interpolation": interpolation}, {"kind": "random_flip"}],
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
    dataset = apart(dataset_of, asked.originals, asked.images, asked.cache, asked.cores)
    setting = Setting(asked.originals, asked.images, dataset, asked.cores, asked.batch)
    if asked.rounds:
        _print_rates(*_rates(setting, asked.peers, asked.rounds, asked.cache, asked.environments))
    if asked.memory:
        print_memory(apart(memory, setting.loader, asked.memory), asked.picture)
    if asked.resume:
        seconds = [[apart(first_batch_s, setting.loader, middle) for middle in (False, True)] for _ in range(5)]
        print_resume(seconds)


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


def _ours(setting: Setting, interpolation: str = "linear") -> Result:
    with ExitStack() as stack:

        def start() -> Epoch:
            loader = setting.loader(interpolation)
            epochs = range(3)  # one to warm up, one that is timed, and one that begins while that one ends
            batches = stack.enter_context(closing(loader.epochs(epochs)))
            images = (batch.images for batch in batches)
            return lambda: islice(images, loader.steps_per_epoch)

        return _result(measure(start, 1))


def bare_pool(setting: Setting) -> Result:
    """The limit: our function of one image over rows in memory, by threads that wait for nothing, into lasting batches.

    The one place here that knows how the loader makes an image.
    """
    loader = setting.loader()
    augmentation = loader.augmentation(0)
    decoder = BatchDecoder(augmentation, 3, ThreadPoolExecutor(setting.cores), Buffers(), "", "")
    images_NHWC = [np.zeros((setting.batch, SIDE, SIDE, 3), np.uint8) for _ in range(_LASTING_BATCHES)]
    rows = Rows.joined([Rows.of_table(pq.read_table(file), 0) for file in sorted(setting.split.glob("*.parquet"))])

    def run(epoch: int) -> int:
        parameters = augmentation.draw(row_draws(0, epoch, 0, len(rows), augmentation.draws), rows.sizes).parameters
        tasks = []
        for number, start in enumerate(range(0, len(rows), setting.batch)):
            batch, out = rows[start : start + setting.batch], images_NHWC[number % _LASTING_BATCHES]
            drawn = Drawn(augmentation.steps, parameters[start : start + setting.batch], batch.sizes)
            tasks += [decoder.threads.submit(decoder.write, batch, drawn, out, chunk) for chunk in chunks(len(batch))]
        for task in tasks:
            task.result()
        return len(rows)

    with decoder.threads:
        run(0)
        return _result({"epochs": [timed(partial(run, 1))], "first_s": float("nan")})


def _peer(name: str, setting: Setting, cache: Path, environments: Path) -> Callable[[], Result]:
    """What measures it once. Installs it and writes its format first, if need be; raises FailedError."""
    python = python_of(PEERS[name].environment, environments)
    place = cache / read_manifest(setting.dataset).digest[:12]
    files = once(place / "files", lambda folder: write_files(setting.originals, setting.images, folder))
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
        AREA: lambda: apart(_ours, setting, "area"),
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


# --- the report ---------------------------------------------------------------------------------


def _print_machine(asked: argparse.Namespace) -> None:
    print(
        f"{machine_line(asked.cores)} "
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
            peer.work if peer else _OUR_WORK[name == AREA],
        ]
        print(f"| {' | '.join(cells)} |")
    for name, reason in left_out.items():
        print(f"\n{PEERS[name].title} is left out: {reason}")


if __name__ == "__main__":
    main()
