"""Training steps, ours and others', for benchmarks that compare them: the same network, optimizer and batch.

    python -m benchmarks.steps SIDE NETWORK SIZE BATCH THREADS TICKS [DATASET]    # a worker; SIDE is one of SIDES

It steps until it is killed, and tells so by TICKS (benchmarks/turns.py). SIZE is of the images, BATCH of a worker.
"""

import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.distributed import init_process_group
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

import models
from benchmarks.turns import Ticking
from models.classifier import Classifier
from models.heads import main_logits
from pipelines.config import HorovodSettings, PrecisionKind, TrackingSettings, TrainSettings
from pipelines.summary.inputs import Input, usual_input
from pipelines.training.averaging import NoAverage
from pipelines.training.batches import SameBatch, random_batch
from pipelines.training.loop import LabelledImages, MetricLog, SilentLog, Trainer, TrainLoader
from pipelines.training.mixing import make_mix
from pipelines.training.optimization import make_clip, make_optimizer
from pipelines.training.precision import Precision
from pipelines.training.workers import Solo, Workers, connected

FOR_EVER = 10**6
"""Steps of an epoch that nobody waits for the end of."""
NO_VALIDATION = {"val_top1_error": 0.0, "val_top5_error": 0.0}


@dataclass(frozen=True)
class Task:
    """What is trained on what."""

    network: str
    size: int
    """Of the square images, in pixels."""
    batch: int
    """Images of one worker."""

    @property
    def input(self) -> Input:
        return usual_input(self.network).changed(self.size, None, None)

    def model(self) -> Classifier:
        """The same weights each time."""
        torch.manual_seed(0)
        given = self.input
        network = models.create(self.network, given.classes, given.channels, given.size)
        return Classifier(network, [0.5] * given.channels, [0.25] * given.channels)

    def loader(self, device: torch.device, steps: int = FOR_EVER) -> SameBatch:
        """One batch of noise on the device, for so many steps an epoch."""
        given = self.input
        shape = (self.batch, *given.size, given.channels)
        return SameBatch(steps, partial(random_batch, shape, given.classes, 0, device))

    def settings(self, workers: int) -> TrainSettings:
        """As users have them, but for a learning rate that leaves the weights about where they are."""
        loader = {"global_batch": self.batch * workers, "lanes": workers}
        return TrainSettings.model_validate(
            {"dataset": "memory", "model": {"name": self.network}, "loader": loader, "optimizer": {"lr": 1e-5}}
        )


def trainer_of(
    task: Task,
    model: nn.Module,
    optimizer: Optimizer,
    loader: TrainLoader,
    workers: Workers,
    folder: Path,
    device: torch.device,
    precision: PrecisionKind = "float32",
    log: MetricLog | None = None,
) -> Trainer:
    """Our loop on that model and optimizer, without a validation."""
    settings = task.settings(workers.size)
    return Trainer(
        model=model,
        optimizer=optimizer,
        loader=loader,
        mix=make_mix(settings),
        clip=make_clip(settings.clip_norm),
        average=NoAverage(),
        validate=lambda model: NO_VALIDATION,
        workers=workers,
        settings=settings,
        device=device,
        checkpoints=folder / "checkpoints",
        about={},
        log=log or SilentLog(),
        precision=Precision(precision, device.type),
    )


def bare_steps(
    model: nn.Module, optimizer: Optimizer, batches: Iterable[LabelledImages], precision: Precision | None = None
) -> None:
    """The loop that everybody writes. precision: bfloat16 or float32, which is the default."""
    precision = precision or Precision("float32", "cpu")
    model.train()
    for batch in batches:
        optimizer.zero_grad()
        with precision.autocast():
            loss = cross_entropy(main_logits(model(batch.images)), batch.labels)
        loss.backward()
        optimizer.step()


# --- what a worker does -------------------------------------------------------------------------

CPU = torch.device("cpu")


def bare(task: Task, ticks: Path) -> None:
    model = task.model()
    optimizer = make_optimizer(model, task.settings(1).optimizer)
    bare_steps(model, optimizer, Ticking(task.loader(CPU), _of_rank(ticks, 0)).epochs(range(FOR_EVER)))


def ddp(task: Task, ticks: Path) -> None:
    """As torch's documentation has it, under torchrun."""
    init_process_group("gloo")
    model = DistributedDataParallel(task.model())
    optimizer = make_optimizer(model, task.settings(1).optimizer)
    source = Ticking(task.loader(CPU), _of_rank(ticks, int(os.environ["RANK"])))
    bare_steps(model, optimizer, source.epochs(range(FOR_EVER)))


def ours(task: Task, ticks: Path) -> None:
    with connected(HorovodSettings()) as workers:
        torch.set_num_threads(_threads())
        _fit_ours(task, ticks, workers, SilentLog())


def logged(task: Task, ticks: Path) -> None:
    """Ours with a real MLflow run, on SQLite."""
    from pipelines.tracking.spooled import SpooledTracker

    folder = ticks.with_suffix(".mlflow")
    settings = TrackingSettings(uri=f"sqlite:///{folder}/mlflow.db", artifacts=folder / "artifacts")
    with SpooledTracker.begin(settings, "benchmark", folder) as tracker:
        _fit_ours(task, ticks, Solo(), tracker)


def _fit_ours(task: Task, ticks: Path, workers: Workers, log: MetricLog) -> None:
    model = task.model()
    optimizer = workers.share_gradients(make_optimizer(model, task.settings(workers.size).optimizer), model, 1)
    source = Ticking(task.loader(CPU), _of_rank(ticks, workers.rank))
    trainer_of(task, model, optimizer, source, workers, ticks.with_suffix(".run"), CPU, log=log).fit()


def real(task: Task, ticks: Path, synthetic: bool = False) -> None:
    """What jobs/train.py trains, on the dataset's images or on its own stand-in for them."""
    from pipelines.assembly import make_loaders, make_trainer
    from pipelines.dataset.manifest import read_manifest

    dataset = sys.argv[7]
    crop: dict[str, object] = {"kind": "random_resized_crop", "size": task.size}
    loader = {
        **{"global_batch": task.batch, "lanes": 4, "decode_threads": _threads()},
        "train_transforms": [crop, {"kind": "random_flip"}],
        "val_transforms": [{"kind": "centre_crop", "size": task.size}],
    }
    settings = TrainSettings.model_validate(
        {"dataset": dataset, "model": {"name": task.network}, "loader": loader, "synthetic_data": synthetic}
        | {"epochs": FOR_EVER, "optimizer": {"lr": 1e-5}, "device": "cpu"}
    )
    workers, manifest = Solo(), read_manifest(dataset)
    train, val = make_loaders(settings, manifest, workers, pin_memory=False)
    trainer = make_trainer(settings, manifest, train, val, workers, CPU, ticks.with_suffix(".run"))
    trainer.validate = lambda model: NO_VALIDATION
    trainer.loader = Ticking(trainer.loader, _of_rank(ticks, 0))
    trainer.fit()


SIDES: dict[str, Callable[[Task, Path], None]] = {
    "bare": bare,
    "ddp": ddp,
    "ours": ours,
    "logged": logged,
    "real": real,
    "synthetic": partial(real, synthetic=True),
}


def _of_rank(ticks: Path, rank: int) -> Path:
    return ticks.with_name(f"{ticks.name}.{rank}")


def _threads() -> int:
    return int(sys.argv[5])


if __name__ == "__main__":
    side, network, size, batch, threads, ticks = sys.argv[1:7]
    torch.set_num_threads(int(threads))
    SIDES[side](Task(network, int(size), int(batch)), Path(ticks))
