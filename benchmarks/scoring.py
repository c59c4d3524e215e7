"""Images a second of batch scoring, against a bare loop: the same decoding, the same graph, no Spark and no Parquet.

    python -m benchmarks.scoring FOLDER [--images 512] [--rounds 3] [--cores 2] [--network resnet18] [--batch 32]
                                        [--memory 1000,20000] > report.md

FOLDER holds real JPEG files, ImageNet's for figures to be quoted; they are replicated by hard links and lie in the page
cache. The network has random weights: ImageNet's 1,000 classes at the paper's size, shorter side 256, a central crop.
The bare loop is a process a core, each with the same number of torch's threads as a task, that reads, decodes and
resizes a batch and sends it through the graph. Every round runs both, warmed up. `--memory` asks, with LeNet-5, whether
a worker's memory grows with the images. Progress goes to stderr.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import redirect_stdout
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import torch
from pyspark.sql import SparkSession

import models
from benchmarks.apart import apart
from benchmarks.job import replicate, start_session
from benchmarks.machine import machine_line
from benchmarks.memory import Cost, PeakRss
from models.classifier import Classifier
from pipelines.config import CentreCrop, ImageSettings, ScoreSettings
from pipelines.dataset.logged_model import LoggedModel, ModelMetadata
from pipelines.preprocess.image import Reject
from pipelines.scoring.files import Preparation
from pipelines.scoring.network import load, probabilities_of
from pipelines.scoring.score import score
from pipelines.tracking.model import save_model

_CLASSES = 1000
_PACKAGES = ("pyspark", "torch", "pyarrow", "simplejpeg", "opencv-python-headless")


class Rate(NamedTuple):
    images_per_s: float
    images_per_cpu_s: float
    """By the processor time of all processes, the JVM included; it hardly depends on what else the machine does."""


class Round(NamedTuple):
    steady: Rate
    """The job's waves of files: without listing, the session's start or the model's loading."""
    whole: Rate
    """The whole call: with listing, checksums and publishing."""
    bare: Rate


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scoring")
    parser.add_argument("originals", type=Path, metavar="FOLDER", help="real JPEG files, in any tree")
    parser.add_argument("--images", type=int, default=512, help="replicated to so many")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--memory", default="", metavar="A,B", help="peak memory of the job at these sizes")
    asked = parser.parse_args()
    print(machine_line(asked.cores, *_PACKAGES))
    if asked.rounds:
        print(f"{asked.network}, {asked.images:,} images, batches of {asked.batch}, {asked.rounds} rounds.\n")
        _print_rates(_rounds(asked))
    if asked.memory:
        sizes = [int(size) for size in asked.memory.split(",")]
        _print_memory({size: apart(memory_cost, asked.originals, size, asked.cores) for size in sizes})


def logged(network: str, folder: Path) -> LoggedModel:
    """A network of that name with random weights, logged as a training logs its own."""
    torch.manual_seed(0)
    height, width = models.input_size(network)
    channels = 1 if network.startswith("lenet") else 3
    built = models.create(network, _CLASSES, channels, (height, width))
    metadata = ModelMetadata(
        image=ImageSettings(channels=channels, size=height * 256 // 224),
        transforms=(CentreCrop(kind="centre_crop", size=height),),
        class_names=tuple(f"class {label}" for label in range(_CLASSES)),
        output="logits",
        dataset_digest="",
    )
    shape = (height, width, channels)
    classifier = Classifier(built, [0.45] * channels, [0.225] * channels)
    save_model(classifier, torch.zeros((2, *shape), dtype=torch.uint8), metadata, folder / "model")
    return LoggedModel(f"{network} with random weights", folder / "model" / "data" / "model.pt2", shape, metadata)


# --- rates --------------------------------------------------------------------------------------


def _rounds(asked: argparse.Namespace) -> list[Round]:
    with (
        tempfile.TemporaryDirectory(prefix="strata-benchmark-") as name,
        ProcessPoolExecutor(asked.cores, get_context("spawn")) as processes,
    ):
        folder = Path(name)
        files = replicate(asked.originals, asked.images, folder / "all")
        few = replicate(asked.originals, 2 * asked.batch * asked.cores, folder / "few")
        model = logged(asked.network, folder)
        spark = start_session(asked.cores)
        rounds = []
        for _ in range(asked.rounds):
            _job(spark, model, folder, "few", asked.batch, 2 * asked.batch)
            steady, whole = _job(spark, model, folder, "all", asked.batch)
            _bare(processes, model, few, asked.batch)
            rounds.append(Round(steady, whole, _bare(processes, model, files, asked.batch)))
            print(rounds[-1], file=sys.stderr, flush=True)
        spark.stop()
    return rounds


def _job(
    spark: SparkSession, model: LoggedModel, folder: Path, source: str, batch: int, per_file: int | None = None
) -> tuple[Rate, Rate]:
    """In steady state, and of the whole call; the processor time is the whole call's."""
    tree = {
        "source": {"path": str(folder / source)},
        "model": "",
        "output": {"path": str(folder / "scores"), "images_per_file": per_file},
        "batch": batch,
        "max_reject_fraction": 0,
    }
    start, cpu_s = time.perf_counter(), _cpu_s()
    with redirect_stdout(sys.stderr):
        report = score(spark, ScoreSettings.model_validate(tree), model)
    seconds, per_cpu_s = time.perf_counter() - start, report.scored / (_cpu_s() - cpu_s)
    shutil.rmtree(folder / "scores")
    return Rate(report.images_per_s, per_cpu_s), Rate(report.scored / seconds, per_cpu_s)


def _cpu_s() -> float:
    """Processor time until now of this process and all below it."""
    this = psutil.Process()
    return sum(sum(process.cpu_times()[:2]) for process in [this, *this.children(recursive=True)])


def _bare(processes: Executor, model: LoggedModel, files: Sequence[str], batch: int) -> Rate:
    batches = [files[start : start + batch] for start in range(0, len(files), batch)]
    work = partial(bare, Preparation(model.metadata, model.input_shape, is_stored=False), str(model.graph))
    start = time.perf_counter()
    shown, cpu_s = map(sum, zip(*processes.map(work, batches), strict=True))
    assert shown == len(files), "none of them is a reject"
    return Rate(shown / (time.perf_counter() - start), shown / cpu_s)


def bare(prepare: Preparation, graph: str, files: Sequence[str]) -> tuple[int, float]:
    """One batch, in a process of its own; how many images the network saw, and the processor time that it took."""
    start = time.process_time()
    images = [image for file in files if not isinstance(image := prepare(Path(file).read_bytes()), Reject)]
    answered = probabilities_of(load(graph, 1), "logits", np.stack(images))
    return len(answered), time.process_time() - start


# --- memory -------------------------------------------------------------------------------------


def memory_cost(originals: Path, count: int, cores: int) -> Cost:
    """Of the real job, with LeNet-5."""
    with tempfile.TemporaryDirectory(prefix="strata-benchmark-") as folder, redirect_stdout(sys.stderr):
        tempfile.tempdir = folder  # a spawned process ends without removing what the session leaves
        replicate(originals, count, Path(folder, "all"))
        model = logged("lenet5_modern", Path(folder))
        with PeakRss() as peak:
            spark = start_session(cores)
            _job(spark, model, Path(folder), "all", 32)
        spark.stop()
    return peak.cost()


# --- the report ---------------------------------------------------------------------------------


def _print_rates(rounds: Sequence[Round]) -> None:
    names = {
        "steady": "jobs/score.py, its waves of files (steady state)",
        "whole": "jobs/score.py, the whole call",
        "bare": "the bare loop in processes (the limit)",
    }
    print("| | images/s, median | min to max | of the limit | images/CPU s | of the limit |")
    print("|---|---:|---:|---:|---:|---:|")
    for field, name in names.items():
        rates = [getattr(one, field).images_per_s for one in rounds]
        per_cpu_s = statistics.median(getattr(one, field).images_per_cpu_s for one in rounds)
        cells = [
            name,
            f"{statistics.median(rates):.1f}",
            f"{min(rates):.1f} to {max(rates):.1f}",
            _shares([getattr(one, field).images_per_s / one.bare.images_per_s for one in rounds]),
            f"{per_cpu_s:.1f}",
            _shares([getattr(one, field).images_per_cpu_s / one.bare.images_per_cpu_s for one in rounds]),
        ]
        print(f"| {' | '.join(cells)} |")
    print("\nTarget: steady state 0.9 of the limit or more, the median of the rounds' own ratios.")


def _shares(ratios: Sequence[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _print_memory(costs: dict[int, Cost]) -> None:
    print("\n| images | largest Python worker, MiB | driver's Python, MiB | s |\n|---:|---:|---:|---:|")
    for size, cost in costs.items():
        print(f"| {size:,} | {cost.worker_bytes >> 20} | {cost.driver_bytes >> 20} | {cost.seconds:.0f} |")
    workers = [cost.worker_bytes for cost in costs.values()]
    print(f"\nA worker's peak grows {workers[-1] / workers[0]:.2f} times.")


if __name__ == "__main__":
    main()
