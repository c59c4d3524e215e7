"""A training put together from its settings: loaders, network, optimizer, and all that the loop is given."""

from functools import partial
from pathlib import Path

import torch

from models.classifier import Classifier
from pipelines.config import TrainSettings
from pipelines.dataset.manifest import SPLITS, Manifest
from pipelines.evaluation.metrics import validate
from pipelines.loading.device import DeviceLoader, copier_for
from pipelines.loading.loader import Loader
from pipelines.training.averaging import make_average
from pipelines.training.batches import Profiled, Recorded, SameBatch, first_of, random_batch
from pipelines.training.checkpoint import newest_good, read_checkpoint
from pipelines.training.classifier import check_fits, make_classifier
from pipelines.training.layout import place
from pipelines.training.loop import Trainer, TrainLoader
from pipelines.training.mixing import make_mix
from pipelines.training.optimization import make_clip, make_optimizer
from pipelines.training.precision import Precision, allow_tf32
from pipelines.training.progress import Screen, Silence, terminal_columns
from pipelines.training.recomputing import recompute_blocks
from pipelines.training.starting import start_from
from pipelines.training.workers import Solo, Workers

TRACE = "trace.json"
"""In a run's folder: what settings.profile asks for."""


def make_loaders(
    settings: TrainSettings, manifest: Manifest, workers: Workers, pin_memory: bool
) -> tuple[Loader, Loader]:
    """This worker's share of the training and of the validation split."""
    rank, size = workers.rank, workers.size
    train, val = (
        Loader(settings.dataset, manifest, split, settings.loader, settings.seed, rank, size, pin_memory)
        for split in SPLITS
    )
    return train, val


def make_trainer(
    settings: TrainSettings,
    manifest: Manifest,
    train: Loader,
    val: Loader,
    workers: Workers,
    device: torch.device,
    folder: Path,
) -> Trainer:
    """Network, data and optimizer wired together; it logs nowhere yet."""
    epochs = (0, settings.epochs - 1) if settings.loader.progressive else (0,)
    examples = [(train, train.examples(2, epoch)) for epoch in epochs] + [(val, val.examples(2))]
    height, width = examples[len(epochs) - 1][1].shape[1:3]
    torch.manual_seed(settings.seed)
    model = make_classifier(settings.model, manifest, (height, width))
    for loader, images in examples:  # a mistake shows now, not after the first epoch
        check_fits(model, images, settings.model.name, f"loader.{loader.split}_transforms")
    if workers.rank == 0 and settings.start_from and (settings.fresh or not newest_good(folder / "checkpoints")):
        take_weights(model, settings)  # the others are given them with all of rank 0's weights
    workers.synchronise_statistics(model, device)
    place(model, device, settings.channels_last)
    allow_tf32(settings.tf32)
    if settings.activation_checkpointing:
        recompute_blocks(model, settings.model.name)
    copier = copier_for(device)
    average = make_average(model, settings.ema_decay)
    if settings.compile:
        model.compile()
    shape = tuple(examples[0][1].shape[1:])
    return Trainer(
        model=model,
        optimizer=workers.share_gradients(
            make_optimizer(model, settings.optimizer), model, settings.micro_batches(workers.size)
        ),
        loader=make_source(settings, DeviceLoader(train, copier), shape, manifest, workers, device, folder),
        mix=make_mix(settings),
        clip=make_clip(settings.clip_norm),
        average=average,
        validate=lambda model: validate(model, DeviceLoader(val, copier).epoch(0), workers.sum),
        workers=workers,
        settings=settings,
        device=device,
        checkpoints=folder / "checkpoints",
        about={
            "settings": settings.shown(),
            "dataset_digest": manifest.digest,
            "input_size": [height, width],
        },
        progress=Screen(terminal_columns()) if workers.rank == 0 else Silence(),
        loss=model.loss,
        precision=Precision(settings.precision, device.type),
    )


def take_weights(model: Classifier, settings: TrainSettings) -> None:
    """Those of the training or checkpoint that settings.start_from names."""
    from pipelines.tracking.runs import checkpoint_of

    path = checkpoint_of(settings.tracking, settings.start_from)
    source = read_checkpoint(path, Solo())
    fresh = start_from(model.network, settings.model, source, settings.start_from)
    layers = ", ".join(dict.fromkeys(key.rpartition(".")[0] for key in fresh))
    print(f"starting from the weights in {path}; fresh: {layers or 'none'}", flush=True)


def make_source(
    settings: TrainSettings,
    source: TrainLoader,
    shape: tuple[int, ...],
    manifest: Manifest,
    workers: Workers,
    device: torch.device,
    folder: Path,
) -> TrainLoader:
    """What is trained on: the source's batches, or others of images of that shape, (H, W, C)."""
    if settings.synthetic_data:
        images = settings.loader.global_batch // workers.size
        seed = settings.seed + workers.rank
        make = partial(random_batch, (images, *shape), len(manifest.classes), seed, device)
        source = SameBatch(source.steps_per_epoch, make)
    elif settings.overfit_one_batch:
        source = SameBatch(source.steps_per_epoch, partial(first_of, source))
    if settings.record_samples:
        source = Recorded(source, folder, workers)
    return Profiled(source, folder / TRACE) if settings.profile and workers.rank == 0 else source
