"""The average of the predictions of several runs: `spark-submit jobs/ensemble.py CONF.yaml [key=value …]`."""

import shlex
from collections.abc import Sequence
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
from pipelines.dataset.lookup import stored_images
from pipelines.dataset.manifest import Manifest, read_manifest
from pipelines.dataset.overlap import check_unseen
from pipelines.evaluation.ensemble import worst_mistakes, write_predictions
from pipelines.evaluation.ensemble_pictures import draw_agreement, draw_curve
from pipelines.evaluation.members import read_members, read_predictions
from pipelines.evaluation.report import save, write_report
from pipelines.evaluation.study import Study, judged, study
from pipelines.evaluation.tally import interval
from pipelines.loading.loader import Loader
from pipelines.preprocess.session import spark_session
from pipelines.tracking.registry import register_ensemble
from pipelines.tracking.runs import KIND_TAG, TrainedRun, trained_runs
from pipelines.tracking.tracker import MlflowTracker
from pipelines.training.checkpoint import read_checkpoint
from pipelines.training.classifier import restore_classifier
from pipelines.training.workers import Solo


def main(settings: EnsembleSettings) -> None:
    runs = trained_runs(settings.tracking, settings.runs)
    spark = spark_session("strata-ensemble")
    ids = [member.run_id for member in runs]
    members = read_members(spark, settings.predictions, ids)
    predicted = members.select("protocol", "dataset_digest").first()
    assert predicted is not None, "read_members has seen to it"
    check_trained_apart(members, runs, predicted.dataset_digest)
    with MlflowTracker.begin(settings.tracking, settings.name) as tracker:
        together = judged(settings, members, ids)
        found = study(settings, members, ids, together)
        write_predictions(
            together.predictions(tracker.run_id, found.weights, settings.combine == "logits"),
            settings.predictions,
            tracker.run_id,
        )
        together.close()
        record(settings, tracker, runs, found, predicted.protocol, predicted.dataset_digest)
        predictions = read_predictions(spark, settings.predictions, [tracker.run_id])
        folder = settings.output / settings.name / predicted.protocol
        for path in draw(settings, folder, runs, found, predictions, predicted.dataset_digest):
            tracker.log_file(path, f"evaluation/{predicted.protocol}")
        registered = register(settings, tracker.run_id, runs, found, predicted.protocol, predicted.dataset_digest)
    print(table(runs, found, settings.name))
    print(
        f"\n{summary(found)}\n"
        f"dataset     {runs[0].dataset}\n"
        f"runs        {without_secrets(settings.tracking.uri)}, experiment {settings.tracking.experiment}\n"
        f"predictions {settings.predictions / tracker.run_id}\n"
        f"model       {registered}\n"
        f"pictures    {folder}\n"
        f"next: python jobs/report.py {shlex.quote(settings.tracking.experiment)}, or make dashboard"
    )


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
    runs: Sequence[TrainedRun],
    found: Study,
    predictions: DataFrame,
    dataset_digest: str,
) -> list[Path]:
    """Tables and pictures; without the dataset, classes have numbers for names and mistakes no images."""
    manifest = manifest_of(runs, dataset_digest)
    names = manifest.class_names if manifest else [str(label) for label in range(len(found.evaluation.confusion))]
    files = write_report(
        folder,
        found.evaluation,
        worst_mistakes(predictions, settings.worst),
        names,
        lambda keys: stored_images(runs[0].dataset, manifest, "val", keys) if manifest else {},
    )
    files.append(save(draw_curve(found), folder / "curve.png"))
    files.append(save(draw_agreement(found, [member.name for member in runs]), folder / "agreement.png"))
    return files


def manifest_of(runs: Sequence[TrainedRun], predicted: str) -> Manifest | None:
    """Of the predicted dataset, if it is still where the first member was trained on it."""
    try:
        manifest = read_manifest(runs[0].dataset)
    except InputError:
        return None
    return manifest if manifest.digest == predicted else None


def record(
    settings: EnsembleSettings,
    tracker: MlflowTracker,
    runs: Sequence[TrainedRun],
    found: Study,
    protocol: str,
    dataset_digest: str,
) -> None:
    """The ensemble as a run that is the parent of its members."""
    weights = dict(zip(found.runs, found.weights.tolist(), strict=True))
    tracker.log_parameters(
        settings.flat()
        | {
            "members": " ".join(member.run_id for member in runs),
            "weights": " ".join(f"{weights[member.run_id]:.4f}" for member in runs),
            "protocol": protocol,
        }
    )
    tracker.log_tags({KIND_TAG: "ensemble", "strata.dataset_digest": dataset_digest})
    tracker.log_metrics(found.metrics(), step=0)
    top1, top5 = found.curve.mean(0).T
    for size, (error1, error5) in enumerate(zip(top1, top5, strict=True), start=1):
        tracker.log_metrics({"curve_top1_error": float(error1), "curve_top5_error": float(error5)}, step=size)
    for member in runs:
        tracker.adopt(member.run_id)


def register(
    settings: EnsembleSettings,
    run_id: str,
    runs: Sequence[TrainedRun],
    found: Study,
    protocol: str,
    dataset_digest: str,
) -> str:
    """Where the model is, or why there is none: a line for the screen."""
    if not settings.register_model:
        return "none: register_model = false"
    checkpoints = [read_checkpoint(Path(member.checkpoint), Solo()) for member in runs]
    sizes = sorted({tuple(checkpoint.about["input_size"]) for checkpoint in checkpoints})
    if len(sizes) > 1:
        return f"none: the members see images of different sizes, {', '.join(f'{h} x {w}' for h, w in sizes)}"
    manifests = [read_manifest(member.dataset) for member in runs]
    networks = [
        restore_classifier(checkpoint, manifest, member.name, protocol.endswith(EMA_SUFFIX))
        for checkpoint, manifest, member in zip(checkpoints, manifests, runs, strict=True)
    ]
    transforms = TrainSettings.model_validate(checkpoints[0].about["settings"]).loader.val_transforms
    loading = LoaderSettings(global_batch=2, lanes=1, val_transforms=transforms)
    examples = Loader(runs[0].dataset, manifests[0], "val", loading).examples(2)
    model = Ensemble(networks, found.weights.tolist(), settings.combine == "logits")
    made = register_ensemble(
        settings.tracking, run_id, settings.name, model, examples, found.evaluation.top1_error, dataset_digest
    )
    champion = "@champion" if made.is_champion else f" version {made.version}; the champion errs less"
    return f"models:/{made.name}{champion}"


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
