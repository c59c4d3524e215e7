"""The average of the predictions of several runs: `spark-submit jobs/ensemble.py CONF.yaml [key=value …]`."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import DataFrame

from models.ensemble import Ensemble
from pipelines.command_line import run
from pipelines.config import (
    EMA_SUFFIX,
    EnsembleSettings,
    InputError,
    LoaderSettings,
    TrainSettings,
    without_secrets,
)
from pipelines.dataset.logged_model import ModelMetadata, metadata_of
from pipelines.dataset.lookup import stored_images
from pipelines.dataset.manifest import Manifest, read_manifest
from pipelines.dataset.overlap import check_unseen
from pipelines.evaluation.ensemble import worst_mistakes
from pipelines.evaluation.ensemble_pictures import draw_agreement, draw_curve
from pipelines.evaluation.members import read_members, read_predictions
from pipelines.evaluation.report import save, write_report
from pipelines.evaluation.study import Study, judged, study
from pipelines.evaluation.tally import interval
from pipelines.loading.loader import Loader
from pipelines.spark import spark_session
from pipelines.tracking.registry import register_ensemble
from pipelines.tracking.runs import TrainedRun, group_of, trained_runs
from pipelines.tracking.tags import KIND_TAG, NOTE_TAG
from pipelines.tracking.tracker import MlflowTracker
from pipelines.training.checkpoint import Checkpoint, read_checkpoint
from pipelines.training.classifier import restore_classifier
from pipelines.training.workers import Solo


@dataclass(frozen=True)
class Members:
    """The trainings that are averaged, and what they predicted."""

    runs: list[TrainedRun]
    predictions: DataFrame
    protocol: str
    dataset_digest: str

    @property
    def ids(self) -> list[str]:
        return [member.run_id for member in self.runs]


def main(settings: EnsembleSettings) -> None:
    members = find_members(settings)
    with run_of(settings, members) as tracker:
        found, predictions = average(settings, members, tracker.run_id)
        record(settings, tracker, members, found)
        pictures = settings.output / settings.name / members.protocol
        for path in draw(settings, pictures, members, found, predictions):
            tracker.log_file(path, f"evaluation/{members.protocol}")
        registered = register(settings, tracker.run_id, members, found)
    print(
        f"{table(members.runs, found, settings.name)}\n"
        f"\n{summary(found)}\n"
        f"dataset     {members.runs[0].dataset}\n"
        f"runs        {without_secrets(settings.tracking.uri)}, experiment {settings.tracking.experiment}\n"
        f"predictions {settings.predictions / tracker.run_id}\n"
        f"model       {registered}\n"
        f"pictures    {pictures}\n"
        f"next: python jobs/report.py {shlex.quote(settings.tracking.experiment)}, or make dashboard"
    )


def find_members(settings: EnsembleSettings) -> Members:
    """Raises InputError if their predictions cannot be averaged."""
    runs = trained_runs(settings.tracking, settings.runs)
    predictions = read_members(
        spark_session("strata-ensemble"), settings.predictions, [member.run_id for member in runs]
    )
    first = predictions.select("protocol", "dataset_digest").first()
    assert first is not None, "read_members has seen to it"
    check_trained_apart(predictions, runs, first.dataset_digest)
    return Members(runs, predictions, first.protocol, first.dataset_digest)


def run_of(settings: EnsembleSettings, members: Members) -> MlflowTracker:
    """A new run, unless one command has trained just these members: then the run that they are under already."""
    if group := group_of(settings.tracking, members.runs):
        return MlflowTracker.take_up(settings.tracking, group, settings.name)
    return MlflowTracker.begin(settings.tracking, settings.name)


def average(settings: EnsembleSettings, members: Members, run_id: str) -> tuple[Study, DataFrame]:
    """All about the ensemble, and its own predictions, which are on disk."""
    together = judged(settings, members.predictions, members.ids)
    found = study(settings, members.predictions, members.ids, together)
    together.write_predictions(settings.predictions, run_id, found.weights, settings.combine == "logits")
    together.close()
    return found, read_predictions(members.predictions.sparkSession, settings.predictions, [run_id])


def check_trained_apart(members: DataFrame, runs: Sequence[TrainedRun], predicted: str) -> None:
    """Raise an InputError if a member was trained on another dataset, some of whose images were predicted."""
    elsewhere = [member for member in runs if member.dataset_digest != predicted]
    keys = {row.key for row in members.select("key").distinct().collect()} if elsewhere else set()
    for member in elsewhere:
        own = read_manifest(member.dataset)
        if own.digest != member.dataset_digest:
            raise InputError(
                f"{member.name} was trained on another dataset than the predicted one, and {member.dataset} is not it "
                "any more: nobody can tell whether it has seen these images; leave it out"
            )
        check_unseen(keys, member.dataset, own, member.name)


def draw(
    settings: EnsembleSettings,
    folder: Path,
    members: Members,
    found: Study,
    predictions: DataFrame,
) -> list[Path]:
    """Tables and pictures; without the dataset, classes have numbers for names and mistakes no images."""
    manifest = manifest_of(members)
    names = manifest.class_names if manifest else [str(label) for label in range(len(found.evaluation.confusion))]
    files = write_report(
        folder,
        found.evaluation,
        worst_mistakes(predictions, settings.worst),
        names,
        lambda keys: stored_images(members.runs[0].dataset, manifest, "val", keys) if manifest else {},
    )
    files.append(save(draw_curve(found), folder / "curve.png"))
    files.append(save(draw_agreement(found, [member.name for member in members.runs]), folder / "agreement.png"))
    return files


def manifest_of(members: Members) -> Manifest | None:
    """Of the predicted dataset, if it is still where the first member was trained on it."""
    try:
        manifest = read_manifest(members.runs[0].dataset)
    except InputError:
        return None
    return manifest if manifest.digest == members.dataset_digest else None


def record(settings: EnsembleSettings, tracker: MlflowTracker, members: Members, found: Study) -> None:
    """The ensemble as a run that is the parent of its members."""
    weights = dict(zip(found.runs, found.weights.tolist(), strict=True))
    tracker.log_parameters(
        settings.flat()
        | {
            "members": " ".join(members.ids),
            "weights": " ".join(f"{weights[run_id]:.4f}" for run_id in members.ids),
            "protocol": members.protocol,
        }
    )
    described = f"```\n{table(members.runs, found, settings.name)}\n\n{summary(found)}\n```"
    tracker.log_tags({KIND_TAG: "ensemble", NOTE_TAG: described, "strata.dataset_digest": members.dataset_digest})
    tracker.log_metrics(found.metrics(), step=0)
    top1, top5 = found.curve.mean(0).T
    for size, (error1, error5) in enumerate(zip(top1, top5, strict=True), start=1):
        tracker.log_metrics({"curve_top1_error": float(error1), "curve_top5_error": float(error5)}, step=size)
    for run_id in members.ids:
        tracker.adopt(run_id)


def register(settings: EnsembleSettings, run_id: str, members: Members, found: Study) -> str:
    """Where the model is, or why there is none: a line for the screen."""
    if not settings.register_model:
        return "none: register_model = false"
    checkpoints = [read_checkpoint(Path(member.checkpoint), Solo()) for member in members.runs]
    sizes = sorted({tuple(checkpoint.about["input_size"]) for checkpoint in checkpoints})
    if len(sizes) > 1:
        return f"none: the members see images of different sizes, {', '.join(f'{h} x {w}' for h, w in sizes)}"
    manifests = [read_manifest(member.dataset) for member in members.runs]
    metadata = common_metadata(checkpoints, manifests)
    if metadata is None:
        return "none: the members see an image in different ways: image settings or val_transforms of theirs differ"
    networks = [
        restore_classifier(checkpoint, manifest, member.name, members.protocol.endswith(EMA_SUFFIX))
        for checkpoint, manifest, member in zip(checkpoints, manifests, members.runs, strict=True)
    ]
    loading = LoaderSettings(global_batch=2, lanes=1, val_transforms=metadata.transforms)
    examples = Loader(members.runs[0].dataset, manifests[0], "val", loading).examples(2)
    model = Ensemble(networks, found.weights.tolist(), settings.combine == "logits")
    error, digest = found.evaluation.top1_error, members.dataset_digest
    made = register_ensemble(settings.tracking, run_id, settings.name, model, examples, metadata, error, digest)
    champion = "@champion" if made.is_champion else f" version {made.version}; the champion errs less"
    return f"models:/{made.name}{champion}"


def common_metadata(checkpoints: Sequence[Checkpoint], manifests: Sequence[Manifest]) -> ModelMetadata | None:
    """What to log with a model of all members; None if one image becomes different inputs for them."""
    settings = [TrainSettings.model_validate(checkpoint.about["settings"]) for checkpoint in checkpoints]
    first, *others = (
        metadata_of(manifest, one.loader.val_transforms, "probabilities")
        for one, manifest in zip(settings, manifests, strict=True)
    )
    same = all((other.image, other.transforms) == (first.image, first.transforms) for other in others)
    return first if same else None


def table(runs: Sequence[TrainedRun], found: Study, name: str) -> str:
    """Members and ensemble, a line each."""
    width = max(len(name), *(len(member.name) for member in runs))
    lines = [f"{'':{width}}  top-1 error      95% interval  top-5 error  images/s"]
    for member in runs:
        error = found.of_members[member.run_id]
        low, high = interval(error.top1, error.images)
        lines.append(
            f"{member.name:{width}}  {error.top1:11.2%}  {f'{low:.2%} to {high:.2%}':>16}  {error.top5:11.2%}  "
            f"{member.images_per_s:8,.0f}"
        )
    whole = found.evaluation
    low, high = interval(whole.top1_error, whole.images)
    lines.append(
        f"{name:{width}}  {whole.top1_error:11.2%}  {f'{low:.2%} to {high:.2%}':>16}  {whole.top5_error:11.2%}"
    )
    return "\n".join(lines)


def summary(found: Study) -> str:
    """The curve and its gain, in lines."""
    curve = ", ".join(f"{size}: {error:.2%}" for size, error in enumerate(found.curve.mean(0)[:, 0], start=1))
    lines = [
        f"{'members':11} {curve} (top-1 error, mean over {len(found.curve)} orders)",
        f"{'gain':11} {100 * found.gain:.2f} points over the median member; two members agree on "
        f"{found.mean_agreement:.2%} of the images",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    run(EnsembleSettings, main, "spark-submit jobs/ensemble.py")
