"""One network, trained data-parallel: `horovodrun -np N python jobs/train.py CONF.yaml [key=value …]`."""

import shutil
from pathlib import Path

import torch
import yaml

from pipelines.command_line import run
from pipelines.config import TrainSettings
from pipelines.dataset.manifest import Manifest, read_manifest
from pipelines.evaluation.metrics import validate
from pipelines.loading.loader import Loader
from pipelines.training.checkpoint import newest_first
from pipelines.training.classifier import make_classifier
from pipelines.training.loop import Trainer
from pipelines.training.optimization import make_optimizer
from pipelines.training.workers import Workers, choose_device, connect


def main(settings: TrainSettings) -> None:
    workers = connect()
    manifest = read_manifest(settings.dataset)
    folder = settings.runs_dir / f"{settings.run_name()}-{settings.identity(manifest.digest)[:8]}"
    if settings.fresh and workers.rank == 0:
        shutil.rmtree(folder, ignore_errors=True)
    val = Loader(settings.dataset, manifest, "val", settings.loader, rank=workers.rank, workers=workers.size)
    trainer = make_trainer(settings, manifest, val, workers, folder)
    if workers.rank == 0:
        track(trainer, manifest, val, folder)
    else:
        trainer.fit()


def make_trainer(settings: TrainSettings, manifest: Manifest, val: Loader, workers: Workers, folder: Path) -> Trainer:
    """Network, data and optimizer wired together; it logs nowhere yet."""
    device = choose_device(settings.device, workers)
    torch.manual_seed(settings.seed)
    model = make_classifier(settings.model.name, manifest).to(device)
    return Trainer(
        model=model,
        optimizer=workers.share_gradients(make_optimizer(model, settings.optimizer), model),
        loader=Loader(settings.dataset, manifest, "train", settings.loader, settings.seed, workers.rank, workers.size),
        validate=lambda model: validate(model, val.epoch(0), device, workers.sum),
        workers=workers,
        settings=settings,
        device=device,
        checkpoints=folder / "checkpoints",
        about={"settings": settings.model_dump(mode="json"), "dataset_digest": manifest.digest},
    )


def track(trainer: Trainer, manifest: Manifest, val: Loader, folder: Path) -> None:
    """Run the training as one MLflow run; only rank 0 comes here, so only rank 0 imports MLflow."""
    from pipelines.tracking.runs import CHECKPOINT_TAG, KIND_TAG
    from pipelines.tracking.tracker import MlflowTracker

    settings = trainer.settings
    tracker = MlflowTracker.begin(settings.tracking, settings.run_name(), folder)
    tracker.log_parameters(settings.flat() | {"workers": trainer.workers.size})
    tracker.log_text(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False), "settings.yaml")
    tracker.log_dataset(settings.dataset, manifest, "training")
    tracker.log_tags({KIND_TAG: "training", "strata.network": settings.model.name})
    trainer.log = tracker
    try:
        epochs = trainer.fit()
        checkpoint = newest_first(trainer.checkpoints)[0].absolute()
        if epochs or not tracker.was_finished:
            tracker.log_tags({CHECKPOINT_TAG: str(checkpoint)})
            tracker.log_learning_curves()
            tracker.log_model(trainer.model, val.examples(2))
    except BaseException:
        tracker.finish("FAILED")
        raise
    tracker.finish()
    print(
        f"run        {settings.run_name()} ({tracker.run_id}) in experiment {settings.tracking.experiment}"
        f"{'' if epochs else ', trained before; fresh=true trains it anew'}\n"
        f"checkpoint {checkpoint}\n"
        "next: python jobs/evaluate.py CONF.yaml, or make dashboard"
    )


if __name__ == "__main__":
    run(TrainSettings, main, "horovodrun -np N python jobs/train.py")
