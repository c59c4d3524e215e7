"""One network, trained data-parallel: `horovodrun -np N python jobs/train.py CONF.yaml [key=value …]`."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
import yaml

from models.classifier import Classifier
from pipelines.assembly import TRACE, make_loaders, make_trainer
from pipelines.command_line import run_each
from pipelines.config import InputError, TrainSettings, digest_of
from pipelines.dataset.logged_model import metadata_of
from pipelines.dataset.manifest import Manifest
from pipelines.loading.loader import Loader
from pipelines.summary.inputs import Input
from pipelines.summary.summary import Summary, summarize_named
from pipelines.summary.table import layers_table
from pipelines.tracking.base import Tracker
from pipelines.tracking.origin import Host, origin_tags
from pipelines.tracking.spooled import SpooledTracker
from pipelines.tracking.system import sampling
from pipelines.tracking.tags import CHECKPOINT_TAG, KIND_TAG, LAYERS_TAG, PARAMETERS_TAG
from pipelines.training.agreement import check_agreement
from pipelines.training.checkpoint import held, newest_first, read_checkpoint
from pipelines.training.classifier import restore_classifier
from pipelines.training.elastic import launched_elastic, train_elastic
from pipelines.training.loop import Trainer
from pipelines.training.recovery import Recovery, Restart
from pipelines.training.workers import Solo, Workers, choose_device, connected, share_manifest
from pipelines.visualization.layers import first_weights
from pipelines.visualization.pictures import draw_filters, draw_samples

SAMPLES = 24
"""Training images that a run shows."""


def main(asked: Sequence[TrainSettings]) -> None:
    first, *others = members = [member for settings in asked for member in settings.members()]
    if launched_elastic() and others:
        raise InputError(
            f"elastic mode trains one network at a time, not {len(members)}: leave out seeds and other files"
        )
    if launched_elastic():
        train_elastic(first, train_with)
        return
    check_together(members)
    with connected(first.horovod) as workers, group_of(members, workers) as group:
        for member in members:
            train_with(member, workers, Restart(), group)


def check_together(members: Sequence[TrainSettings]) -> None:
    """Raises InputError if one command cannot train them one after another."""
    first, stall_s = members[0], members[0].horovod.stall_shutdown_s
    if other := next((member for member in members if member.horovod != first.horovod), None):
        raise InputError(
            f"{first.run_name()} and {other.run_name()} have different settings of horovod, of which one command has "
            "the same for all its trainings: train them with commands of their own"
        )
    longest_s = max(member.tracking.wait_at_end_s for member in members)
    if len(members) > 1 and stall_s is not None and longest_s >= stall_s:
        raise InputError(
            f"tracking.wait_at_end_s = {longest_s:g} is no less than horovod.stall_shutdown_s = {stall_s}: while one "
            "worker waits for the store, the others stand in the next training and would be taken for stalled"
        )


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
        if not tracker.was_finished:  # else it may be an ensemble by now
            tracker.log_tags({KIND_TAG: "group"})
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
        summary = summary_of(trainer, manifest)
        tracker.log_text(layers_table(summary).text() + "\n", "summary.txt")
        tracker.log_dataset(settings.dataset, manifest, "training")
        tracker.log_tags({KIND_TAG: "training", "strata.network": settings.model.name})
        tracker.log_tags({LAYERS_TAG: str(summary.depth), PARAMETERS_TAG: str(summary.parameters)})
        tracker.log_tags(origin_tags(hosts, trainer.workers.size))
        trainer.log = tracker
        epochs = fit(trainer, tracker.folder)
        checkpoint = newest_first(trainer.checkpoints)[0].absolute()
        if (folder / TRACE).exists():
            tracker.log_file(folder / TRACE, "profile")
        if epochs or not tracker.was_finished:
            log_result(tracker, checkpoint, manifest, train, val, settings)
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
    tracker: SpooledTracker, checkpoint: Path, manifest: Manifest, train: Loader, val: Loader, settings: TrainSettings
) -> None:
    """What the training has come to: its newest checkpoint, curves, pictures, and the network as a model."""
    tracker.log_tags({CHECKPOINT_TAG: str(checkpoint)})
    tracker.log_learning_curves()
    saved = read_checkpoint(checkpoint, Solo())
    if settings.tracking.checkpoints == "upload":
        best = [checkpoint.with_name(f"epoch-{epoch:04d}.pt") for epoch in saved.best_epochs(settings.keep_best)]
        for path in {checkpoint, *filter(Path.exists, best)}:
            tracker.log_file(path, "checkpoints")
    model, examples = restore_classifier(saved, manifest, settings.run_name()), val.examples(2)
    log_pictures(tracker, model, train, settings)
    tracker.log_model(model, examples, metadata_of(manifest, settings.loader.val_transforms, "logits"))


def log_pictures(tracker: Tracker, model: Classifier, train: Loader, settings: TrainSettings) -> None:
    """Images as the network is given them at first, before any mixing, and its first filters if it has any."""
    samples = train.examples(min(SAMPLES, settings.loader.global_batch))
    if not settings.synthetic_data:
        tracker.log_figure(draw_samples(samples), "samples.png")
    with suppress(InputError):  # a first layer that is neither convolution nor fully connected
        tracker.log_figure(draw_filters(*first_weights(model.network, model.normalised(samples[:1]))), "filters.png")


def hosts_of(workers: Workers, device: torch.device) -> list[Host]:
    """The machines of all workers, each once."""
    gpus = torch.cuda.device_count() if device.type == "cuda" else 0
    own = Host.this([torch.cuda.get_device_name(gpu) for gpu in range(gpus)])
    heard = workers.gather_bytes(own.model_dump_json().encode() if workers.local_rank == 0 else b"-")
    return [Host.model_validate_json(content) for content in heard if content != b"-"]


def summary_of(trainer: Trainer, manifest: Manifest) -> Summary:
    """Layers, memory and arithmetic of the network that is trained, with a worker's share of the batch.

    Of one made anew, without weights: the one that trains may hold layers that run on GPUs alone, or recompute.
    """
    height, width = trainer.about["input_size"]
    given = Input((height, width), manifest.channels, len(manifest.classes))
    batch_size = trainer.settings.loader.global_batch // trainer.workers.size
    asked = trainer.settings.model
    return summarize_named(asked.name, batch_size, given, asked.options)


if __name__ == "__main__":
    run_each(TrainSettings, main, "horovodrun -np N python jobs/train.py")
