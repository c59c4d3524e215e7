"""Pictures of what a trained network responds to: `python jobs/visualize.py CONF.yaml [key=value …]`."""

import re
from pathlib import Path

from pipelines.command_line import run
from pipelines.config import (
    CentreCrop,
    InputError,
    LoaderSettings,
    TenCrop,
    TrackingSettings,
    TrainSettings,
    VisualizeSettings,
)
from pipelines.dataset.manifest import Manifest, read_manifest
from pipelines.loading.device import DeviceLoader, copier_for
from pipelines.loading.loader import Loader
from pipelines.tracking.runs import TrainedRun, trained_runs
from pipelines.tracking.tracker import MlflowTracker
from pipelines.training.checkpoint import Checkpoint, read_checkpoint
from pipelines.training.classifier import restore_classifier
from pipelines.training.workers import Solo, choose_device
from pipelines.visualization.report import Report


def main(settings: VisualizeSettings) -> None:
    manifest, device = read_manifest(settings.dataset), choose_device(settings.device, Solo())
    trained, path = find(settings)
    name = trained.name if trained else path.stem
    checkpoint = read_checkpoint(path, Solo())
    model = restore_classifier(checkpoint, manifest, name).to(device).eval()
    loader = DeviceLoader(make_loader(settings, manifest, checkpoint, device.type == "cuda"), copier_for(device))
    class_names = [entry.words.split(",")[0] for entry in manifest.classes]
    folder = settings.output / (name if trained else f"{path.absolute().parent.parent.name}-{name}")
    drawn = []
    for picture, figure in Report(model, lambda: loader.epoch(0), class_names, settings).draw():
        folder.mkdir(parents=True, exist_ok=True)
        drawn.append(folder / f"{re.sub(r'[^0-9A-Za-z_-]', '-', picture)}.png")
        figure.savefig(drawn[-1])
        print(drawn[-1], flush=True)
    if trained:
        record(settings.tracking, trained, drawn)


def find(settings: VisualizeSettings) -> tuple[TrainedRun | None, Path]:
    """The run and its checkpoint; of a checkpoint, the run that it belongs to, or None where the store has none.

    Raises InputError that lists the runs there are if there is no such run, nor such a file.
    """
    path = Path(settings.run)
    if path.suffix != ".pt" and not path.is_file():
        (trained,) = trained_runs(settings.tracking, [settings.run])
        return trained, Path(trained.checkpoint)
    try:
        of_checkpoint = [one for one in trained_runs(settings.tracking) if belongs(path, one)]
        why = f"no finished training of experiment {settings.tracking.experiment} left this checkpoint"
    except InputError as error:
        of_checkpoint, why = [], str(error)
    if not of_checkpoint:
        print(f"the pictures will not be logged: {why}", flush=True)
    return next(iter(of_checkpoint), None), path


def belongs(checkpoint: Path, trained: TrainedRun) -> bool:
    """Whether it lies beside the run's newest one."""
    return checkpoint.absolute().parent == Path(trained.checkpoint).parent


def make_loader(settings: VisualizeSettings, manifest: Manifest, checkpoint: Checkpoint, pin_memory: bool) -> Loader:
    """Validation images as the training saw them; of ten crops, the central one."""
    transforms = TrainSettings.model_validate(checkpoint.about["settings"]).loader.val_transforms
    loading = LoaderSettings(
        global_batch=settings.batch,
        lanes=1,
        decode_threads=settings.decode_threads,
        val_transforms=tuple(
            CentreCrop(kind="centre_crop", size=step.size) if isinstance(step, TenCrop) else step for step in transforms
        ),
    )
    return Loader(settings.dataset, manifest, "val", loading, pin_memory=pin_memory)


def record(tracking: TrackingSettings, trained: TrainedRun, drawn: list[Path]) -> None:
    """Put the pictures among the run's artifacts."""
    tracker = MlflowTracker.reopen(tracking, trained.run_id)
    for path in drawn:
        tracker.log_file(path, "pictures")
    print(f"logged to run {trained.name} ({trained.run_id}) in experiment {tracking.experiment}, folder pictures")


if __name__ == "__main__":
    run(VisualizeSettings, main, "python jobs/visualize.py")
