"""One network, trained data-parallel: `horovodrun -np N python jobs/train.py CONF.yaml [key=value …]`."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
import yaml

from models.classifier import Classifier
from pipelines.command_line import run_each
from pipelines.config import InputError, TrainSettings, digest_of
from pipelines.dataset.manifest import SPLITS, Manifest
from pipelines.evaluation.metrics import validate
from pipelines.loading.device import DeviceLoader, copier_for
from pipelines.loading.loader import Loader
from pipelines.summary.inputs import Input
from pipelines.summary.summary import summarize_named
from pipelines.summary.table import layers_table
from pipelines.tracking.origin import Host, origin_tags
from pipelines.tracking.spooled import SpooledTracker
from pipelines.tracking.system import sampling
from pipelines.tracking.tags import CHECKPOINT_TAG, KIND_TAG
from pipelines.training.agreement import check_agreement
from pipelines.training.averaging import make_average
from pipelines.training.batches import Profiled, Recorded, SameBatch, first_of, random_batch
from pipelines.training.checkpoint import held, newest_first, read_checkpoint
from pipelines.training.classifier import check_fits, make_classifier, restore_classifier
from pipelines.training.elastic import launched_elastic, train_elastic
from pipelines.training.layout import place
from pipelines.training.loop import Trainer, TrainLoader
from pipelines.training.mixing import make_mix
from pipelines.training.optimization import make_clip, make_optimizer
from pipelines.training.precision import Precision, allow_tf32
from pipelines.training.progress import Screen, Silence, terminal_columns
from pipelines.training.recomputing import recompute_blocks
from pipelines.training.recovery import Recovery, Restart
from pipelines.training.starting import start_from
from pipelines.training.workers import Solo, Workers, choose_device, connected, share_manifest

TRACE = "trace.json"
"""In a run's folder: what settings.profile asks for."""


def main(asked: Sequence[TrainSettings]) -> None:
    first, *others = members = [member for settings in asked for member in settings.members()]
    if launched_elastic() and others:
        raise InputError(
            f"elastic mode trains one network at a time, not {len(members)}: leave out seeds and other files"
        )
    if launched_elastic():
        train_elastic(first, train_with)
        return
    with connected(first.horovod) as workers, group_of(members, workers) as group:
        for member in members:
            train_with(member, workers, Restart(), group)


@contextmanager
def group_of(members: Sequence[TrainSettings], workers: Workers) -> Iterator[str]:
    """The id of the run whose children the trainings are, which rank 0 keeps meanwhile; empty for one alone."""
    if len(members) == 1 or workers.rank:
        yield ""
        return
    first, names = members[0], sorted(member.run_name() for member in members)
    if len(set(names)) < len(names):
        raise InputError(
            f"two of these trainings have the same name: {', '.join(names)}; give each file a name of its own"
        )
    networks = dict.fromkeys(member.model.name for member in members)
    name = f"{'+'.join(networks)}-{first.dataset_name}-{len(members)}-members"
    folder = first.runs_dir / f"{name}-{digest_of(names)[:8]}"
    with held(folder), SpooledTracker.begin(first.tracking, name, folder, first.fresh) as tracker:
        tracker.log_tags({KIND_TAG: "group"})
        tracker.log_parameters({"members": " ".join(names)})
        yield tracker.id


def train_with(settings: TrainSettings, workers: Workers, recovery: Recovery, group: str = "") -> None:
    """The training, from where it stands, by these workers.

    group: `id` of the tracker whose child its run is.
    """
    manifest = share_manifest(settings.dataset, workers)
    folder = settings.runs_dir / f"{settings.run_name()}-{settings.identity(manifest.digest)[:8]}"
    device = choose_device(settings.device, workers)
    check_agreement(settings, manifest, device, workers)
    workers.record_timeline(folder)
    train, val = make_loaders(settings, manifest, workers, pin_memory=device.type == "cuda")
    trainer = make_trainer(settings, manifest, train, val, workers, device, folder)
    trainer.recovery = recovery
    hosts = hosts_of(workers, device)
    if workers.rank == 0:
        with held(folder):
            track(trainer, manifest, train, val, folder, hosts, group)
    else:
        fit(trainer)


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
    if workers.rank == 0 and settings.start_from and (settings.fresh or not newest_first(folder / "checkpoints")):
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


def track(
    trainer: Trainer, manifest: Manifest, train: Loader, val: Loader, folder: Path, hosts: Sequence[Host], group: str
) -> None:
    """Run the training as one MLflow run; only rank 0 comes here. Nothing of it waits for MLflow, but for the end."""
    settings = trainer.settings
    with SpooledTracker.begin(settings.tracking, settings.run_name(), folder, settings.fresh, group) as tracker:
        if settings.fresh:
            shutil.rmtree(trainer.checkpoints, ignore_errors=True)
        tracker.log_parameters(settings.flat() | {"workers": trainer.workers.size})
        tracker.log_text(yaml.safe_dump(settings.shown(), sort_keys=False), "settings.yaml")
        tracker.log_text(summary_of(trainer, manifest), "summary.txt")
        tracker.log_dataset(settings.dataset, manifest, "training")
        tracker.log_tags({KIND_TAG: "training", "strata.network": settings.model.name})
        tracker.log_tags(origin_tags(hosts, trainer.workers.size))
        trainer.log = tracker
        epochs = fit(trainer, tracker.folder)
        checkpoint = newest_first(trainer.checkpoints)[0].absolute()
        if (folder / TRACE).exists():
            tracker.log_file(folder / TRACE, "profile")
        if epochs or not tracker.was_finished:
            log_result(tracker, checkpoint, manifest, val, settings)
    if epochs and not (settings.synthetic_data or settings.overfit_one_batch):
        print(f"\n{train.times}\n")
    print(
        f"run        {settings.run_name()} ({tracker.run_id or 'not in MLflow yet'}) in experiment "
        f"{settings.tracking.experiment}{'' if epochs else ', trained before; fresh=true trains it anew'}\n"
        f"checkpoint {checkpoint}\n"
        "next: python jobs/evaluate.py CONF.yaml, or make dashboard"
    )


def fit(trainer: Trainer, spool: Path | None = None) -> int:
    """Train, and sample this host meanwhile if this is its first worker; how many epochs that took.

    spool: of the run, which only rank 0 knows.
    """
    workers, tracking = trainer.workers, trainer.settings.tracking
    heard = workers.share_bytes(str(spool.absolute()).encode() if spool else None)
    with sampling(Path(heard.decode()), tracking.system_every_s if workers.local_rank == 0 else None):
        return trainer.fit()


def log_result(
    tracker: SpooledTracker, checkpoint: Path, manifest: Manifest, val: Loader, settings: TrainSettings
) -> None:
    """What the training has come to: its newest checkpoint, curves, and the network as a model."""
    tracker.log_tags({CHECKPOINT_TAG: str(checkpoint)})
    tracker.log_learning_curves()
    saved = read_checkpoint(checkpoint, Solo())
    if settings.tracking.checkpoints == "upload":
        best = [checkpoint.with_name(f"epoch-{epoch:04d}.pt") for epoch in saved.best_epochs(settings.keep_best)]
        for path in {checkpoint, *filter(Path.exists, best)}:
            tracker.log_file(path, "checkpoints")
    tracker.log_model(restore_classifier(saved, manifest, settings.run_name()), val.examples(2))


def hosts_of(workers: Workers, device: torch.device) -> list[Host]:
    """The machines of all workers, each once."""
    gpus = torch.cuda.device_count() if device.type == "cuda" else 0
    own = Host.this([torch.cuda.get_device_name(gpu) for gpu in range(gpus)])
    heard = workers.gather_bytes(own.model_dump_json().encode() if workers.local_rank == 0 else b"-")
    return [Host.model_validate_json(content) for content in heard if content != b"-"]


def summary_of(trainer: Trainer, manifest: Manifest) -> str:
    """Layers, memory and arithmetic of the network that is trained, with a worker's share of the batch.

    Of one made anew, without weights: the one that trains may hold layers that run on GPUs alone, or recompute.
    """
    height, width = trainer.about["input_size"]
    given = Input((height, width), manifest.channels, len(manifest.classes))
    batch_size = trainer.settings.loader.global_batch // trainer.workers.size
    asked = trainer.settings.model
    return layers_table(summarize_named(asked.name, batch_size, given, asked.options)).text() + "\n"


if __name__ == "__main__":
    run_each(TrainSettings, main, "horovodrun -np N python jobs/train.py")
