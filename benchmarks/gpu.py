"""What one GPU does with our training step: images a second, memory, how much of its arithmetic is used.

    python -m benchmarks.gpu [--networks alexnet,vgg_d,resnet50] [--rounds 5] [--steps 30] > report.md
    python -m benchmarks.gpu --device cpu --smoke          # every line of this but the GPU's, at toy sizes

In bfloat16, channels last, with and without torch.compile, at the power of two of images that a bare loop is fastest
with. Our loop (Trainer) and the bare loop take turns on one network and one batch in memory. Then AlexNet from files,
and the loader alone. On a GPU every measurement is a process of its own.
The dataset is made of pictures that nobody took, unless --dataset names one. Progress goes to stderr.
"""

import argparse
import gc
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch

import models
from benchmarks.apart import apart
from benchmarks.loading_setup import FailedError
from benchmarks.pictures import dataset_of_pictures
from benchmarks.steps import FOR_EVER, NO_VALIDATION, Task, bare_steps, trainer_of
from pipelines.assembly import make_loaders, make_trainer
from pipelines.config import TrainSettings
from pipelines.dataset.manifest import read_manifest
from pipelines.summary.summary import summarize_named
from pipelines.training.batches import SameBatch
from pipelines.training.layout import place
from pipelines.training.optimization import make_optimizer
from pipelines.training.precision import Precision
from pipelines.training.progress import Silence
from pipelines.training.stopping import Stop
from pipelines.training.workers import Solo

PEAKS = {
    "A100": 312e12,
    "H100 NVL": 835e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "H200 NVL": 836e12,
    "H200": 989e12,
}
"""Names, the more special first, to dense bfloat16 operations a second on tensor cores: NVIDIA's datasheets, which for
Hopper print twice as much, that with sparsity."""
_NETWORKS, _SMOKE_NETWORKS = "alexnet,vgg_d,resnet50", "lenet5_modern"
_PICTURES, _SMOKE_PICTURES = (32768, 256), (64, 80)
"""How many, of which side in pixels."""
_INPUT_EPOCHS = 3

T = TypeVar("T")


@dataclass(frozen=True)
class Asked:
    device: str
    networks: tuple[str, ...]
    rounds: int
    steps: int
    first_batch: int
    last_batch: int
    smoke: bool
    cudnn_benchmark: bool
    dataset: Path | None
    threads: int
    cache: Path

    def task(self, network: str, batch: int) -> Task:
        return Task(network, models.input_size(network)[0], batch)


class Figures(NamedTuple):
    """Of one network at one batch."""

    bare_s: tuple[float, ...]
    """A step, of each round."""
    ours_s: tuple[float, ...]
    peak_bytes: int
    """Of the GPU's memory; 0 on the CPU."""

    @property
    def ratio(self) -> float:
        return statistics.median(bare / ours for bare, ours in zip(self.bare_s, self.ours_s, strict=True))


def main() -> None:
    asked = _arguments()
    if asked.device == "cuda" and not torch.cuda.is_available():
        print("No GPU that torch can use: nothing to measure here (--device cpu --smoke tries the code).")
        return
    _print_device(asked)
    best = {}
    for network in asked.networks:
        try:
            best[network] = _apart(best_batch, asked, network)
            for compiled in (False, True):
                task = asked.task(network, best[network])
                print(_row(asked, task, compiled, _apart(by_turns, asked, task, compiled, asked.rounds)), flush=True)
        except FailedError as error:
            print(f"\n{network}: {error}", flush=True)
    if (network := asked.networks[0]) in best:
        pictures = _SMOKE_PICTURES if asked.smoke else _PICTURES
        dataset = asked.dataset or dataset_of_pictures(*pictures, asked.cache)
        _print_input(_apart(from_files, asked, dataset, asked.task(network, best[network])), network)


def _arguments() -> Asked:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--networks", default="", metavar="A,B", help="the first one is trained from files, too")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=30, help="of a turn")
    parser.add_argument("--last-batch", type=int, default=4096, help="larger ones are not tried")
    parser.add_argument("--smoke", action="store_true", help="a small network, batches of 2 and 4, turns of two steps")
    parser.add_argument("--cudnn-benchmark", action="store_true", help="let cuDNN try its algorithms for each shape")
    parser.add_argument("--dataset", type=Path, help="of jobs/preprocess.py; made of noise if not given")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="that decode")
    parser.add_argument("--cache", type=Path, default=Path("work/benchmarks"))
    asked = parser.parse_args()
    networks = tuple((asked.networks or (_SMOKE_NETWORKS if asked.smoke else _NETWORKS)).split(","))
    if unknown := set(networks) - set(models.names()):
        parser.error(f"no network {', '.join(sorted(unknown))}: there are {', '.join(models.names())}")
    rounds, steps, batches = (2, 2, (2, 4)) if asked.smoke else (asked.rounds, asked.steps, (32, asked.last_batch))
    return Asked(
        device=asked.device,
        networks=networks,
        rounds=rounds,
        steps=steps,
        first_batch=batches[0],
        last_batch=batches[1],
        smoke=asked.smoke,
        cudnn_benchmark=asked.cudnn_benchmark,
        dataset=asked.dataset,
        threads=asked.threads,
        cache=asked.cache,
    )


def _apart(measure: Callable[..., T], asked: Asked, *arguments: object) -> T:
    """In a process of its own, so that neither memory nor the state after an error goes from one to the next."""
    return apart(measure, asked, *arguments) if asked.device == "cuda" else measure(asked, *arguments)


# --- a batch in memory --------------------------------------------------------------------------


def best_batch(asked: Asked, network: str) -> int:
    """The power of two of images that a bare loop is fastest with. Raises FailedError if the first is too large."""
    rates: dict[int, float] = {}
    batch = asked.first_batch
    while batch <= asked.last_batch and (step_s := _step_s_if_it_fits(asked, asked.task(network, batch))):
        rates[batch] = batch / step_s
        print(f"{network}: {rates[batch]:,.0f} images/s in batches of {batch}", file=sys.stderr, flush=True)
        batch *= 2
    if not rates:
        raise FailedError(f"not even {asked.first_batch} images fit")
    return max(rates, key=lambda batch: rates[batch])


def _step_s_if_it_fits(asked: Asked, task: Task) -> float | None:
    try:
        step_s = statistics.median(by_turns(asked, task, compiled=False, rounds=1).bare_s)
    except RuntimeError as error:  # out of memory, or cuDNN's own words for it
        print(f"{task.network}, {task.batch} images: {str(error).splitlines()[0]}", file=sys.stderr, flush=True)
        step_s = None
    gc.collect()
    if asked.device == "cuda":
        torch.cuda.empty_cache()
    return step_s


def by_turns(asked: Asked, task: Task, compiled: bool, rounds: int) -> Figures:
    """Bare steps and ours on one network, in turns of so many, after a turn each to warm up."""
    device = torch.device(asked.device)
    torch.backends.cudnn.benchmark = asked.cudnn_benchmark
    model = task.model()
    place(model, device, channels_last=True)
    if compiled:
        model.compile(backend="aot_eager" if asked.smoke else "inductor")
    optimizer = make_optimizer(model, task.settings(1).optimizer)
    batch = task.loader(device).make()
    source = SameBatch(asked.steps, lambda: batch)
    with tempfile.TemporaryDirectory() as folder, closing(source.epochs(range(FOR_EVER))) as batches:
        trainer = trainer_of(task, model, optimizer, source, Solo(), Path(folder), device, "bfloat16")
        precision, stop = Precision("bfloat16", device.type), Stop(Solo())
        bare = partial(bare_steps, model, optimizer, [batch] * asked.steps, precision)
        bare_s, ours_s = [], []
        for number in range(rounds + 1):
            bare_s.append(_timed(bare, device) / asked.steps)
            ours_s.append(_timed(partial(trainer.train_one_epoch, number, batches, stop), device) / asked.steps)
        peak_bytes = torch.cuda.max_memory_allocated() if asked.device == "cuda" else 0
    return Figures(tuple(bare_s[1:]), tuple(ours_s[1:]), peak_bytes)


def _timed(work: Callable[[], object], device: torch.device) -> float:
    _wait_for(device)
    started = time.perf_counter()
    work()
    _wait_for(device)
    return time.perf_counter() - started


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


# --- from files ---------------------------------------------------------------------------------


class FromFiles(NamedTuple):
    """Images a second."""

    batch: int
    threads: int
    """That decode."""
    synthetic: float
    real: float
    loader_alone: float
    waited: float
    """Share of the time of `real` in which the device had no batch."""


def from_files(asked: Asked, dataset: Path, task: Task) -> FromFiles:
    """Training on stored JPEG, beside the same on a batch in memory, and the loader beside both."""
    synthetic, _ = _trained(asked, dataset, task, synthetic=True)
    real, waited = _trained(asked, dataset, task, synthetic=False)
    settings = _settings(asked, dataset, task, synthetic=False)
    loader, _ = make_loaders(settings, read_manifest(dataset), Solo(), pin_memory=asked.device == "cuda")
    with closing(loader.epochs(range(_INPUT_EPOCHS))) as batches:
        for _ in range(loader.steps_per_epoch):
            next(batches)
        started = time.perf_counter()
        for _ in range(loader.steps_per_epoch):
            next(batches)
        alone = task.batch * loader.steps_per_epoch / (time.perf_counter() - started)
    return FromFiles(task.batch, asked.threads, synthetic, real, alone, waited)


def _trained(asked: Asked, dataset: Path, task: Task, synthetic: bool) -> tuple[float, float]:
    """Images a second and the share waited for input, of the last of a few epochs; as jobs/train.py trains."""
    settings, device = _settings(asked, dataset, task, synthetic), torch.device(asked.device)
    workers, manifest = Solo(), read_manifest(dataset)
    train, val = make_loaders(settings, manifest, workers, pin_memory=device.type == "cuda")
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(settings, manifest, train, val, workers, device, Path(folder))
        trainer.validate, trainer.progress = (lambda model: NO_VALIDATION), Silence()
        stop = Stop(workers)
        with closing(trainer.loader.epochs(range(_INPUT_EPOCHS))) as batches:
            for epoch in range(_INPUT_EPOCHS):
                figures = trainer.train_one_epoch(epoch, batches, stop)
    return figures["images_per_s"], figures["input_wait_fraction"]


def _settings(asked: Asked, dataset: Path, task: Task, synthetic: bool) -> TrainSettings:
    loader = {
        **{"global_batch": task.batch, "lanes": min(8, task.batch), "decode_threads": asked.threads},
        "train_transforms": [{"kind": "random_resized_crop", "size": task.size}, {"kind": "random_flip"}],
        "val_transforms": [{"kind": "centre_crop", "size": task.size}],
    }
    return TrainSettings.model_validate(
        {"dataset": str(dataset), "model": {"name": task.network}, "loader": loader, "optimizer": {"lr": 1e-5}}
        | {"epochs": FOR_EVER, "precision": "bfloat16", "synthetic_data": synthetic, "device": asked.device}
    )


# --- the report ---------------------------------------------------------------------------------


def peak_flops(device_name: str) -> float | None:
    """Dense bfloat16 operations a second; None if the device is not in the table."""
    words = re.split(r"[ -]", device_name)
    return next((peak for name, peak in PEAKS.items() if set(name.split()) <= set(words)), None)


def utilisation(task: Task, images_per_s: float, device_name: str) -> float | None:
    """Of the device's peak: two operations a multiply-add, forward once, backward twice (PaLM, 2022, appendix B)."""
    peak = peak_flops(device_name)
    if peak is None:
        return None
    multiply_adds = summarize_named(task.network, 1, task.input, {}).multiply_adds
    return 2 * 3 * multiply_adds * images_per_s / peak


def _device_name(asked: Asked) -> str:
    return torch.cuda.get_device_name() if asked.device == "cuda" else "CPU"


def _print_device(asked: Asked) -> None:
    cuda = f", CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}" if asked.device == "cuda" else ""
    print(
        f"{time.strftime('%Y-%m-%d')}, {_device_name(asked)}, {asked.threads} cores, torch {torch.__version__}{cuda}; "
        f"bfloat16, channels last, cuDNN's benchmark {'on' if asked.cudnn_benchmark else 'off'}, {asked.rounds} rounds "
        f"of {asked.steps} steps.\n\n"
        "| network | batch | compiled | ours, images/s | bare loop, images/s | ours is, times | peak GB | MFU |\n"
        "|---|---:|---|---:|---:|---:|---:|---:|",
        flush=True,
    )


def _row(asked: Asked, task: Task, compiled: bool, figures: Figures) -> str:
    ours, bare = (task.batch / statistics.median(times) for times in (figures.ours_s, figures.bare_s))
    share = utilisation(task, ours, _device_name(asked))
    cells = [
        f"{task.network}, {task.size} px",
        f"{task.batch}",
        "yes" if compiled else "no",
        f"{ours:,.0f}",
        f"{bare:,.0f}",
        f"{figures.ratio:.3f}",
        f"{figures.peak_bytes / 1e9:.1f}" if figures.peak_bytes else "none",
        "none" if share is None else f"{share:.1%}",
    ]
    return f"| {' | '.join(cells)} |"


def _print_input(measured: FromFiles, network: str) -> None:
    print(
        f"\n{network}, batches of {measured.batch}, not compiled, images/s: {measured.synthetic:,.0f} on a batch in "
        f"memory, {measured.real:,.0f} from JPEG files ({measured.waited:.0%} of the time waiting for input), the "
        f"loader alone {measured.loader_alone:,.0f} with {measured.threads} threads."
    )


if __name__ == "__main__":
    main()
