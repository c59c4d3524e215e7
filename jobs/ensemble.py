"""The average of the predictions of several runs: `spark-submit jobs/ensemble.py CONF.yaml [key=value …]`."""

import statistics
from collections.abc import Sequence

from pipelines.command_line import run
from pipelines.config import EnsembleSettings, without_secrets
from pipelines.evaluation.ensemble import Errors, average, errors, read_members, read_predictions
from pipelines.preprocess.session import spark_session
from pipelines.tracking.runs import KIND_TAG, TrainedRun, trained_runs
from pipelines.tracking.tracker import MlflowTracker


def main(settings: EnsembleSettings) -> None:
    runs = trained_runs(settings.tracking, settings.runs)
    spark = spark_session("strata-ensemble")
    members = read_members(spark, settings.predictions, [member.run_id for member in runs])
    of_members = {member.run: member for member in errors(members)}
    with MlflowTracker.begin(settings.tracking, settings.name) as tracker:
        average(members, tracker.run_id).write.parquet(f"file://{(settings.predictions / tracker.run_id).absolute()}")
        (of_ensemble,) = errors(read_predictions(spark, settings.predictions, [tracker.run_id]))
        record(settings, tracker, runs, of_members, of_ensemble)
    print(table(runs, of_members, settings.name, of_ensemble))
    print(
        f"\ndataset     {runs[0].dataset}\n"
        f"runs        {without_secrets(settings.tracking.uri)}, experiment {settings.tracking.experiment}\n"
        f"predictions {settings.predictions / tracker.run_id}\n"
        "next: make dashboard"
    )


def record(
    settings: EnsembleSettings,
    tracker: MlflowTracker,
    runs: Sequence[TrainedRun],
    of_members: dict[str, Errors],
    of_ensemble: Errors,
) -> None:
    """The ensemble as a run that is the parent of its members."""
    median = statistics.median(error.top1 for error in of_members.values())
    tracker.log_parameters(settings.flat() | {"members": " ".join(member.run_id for member in runs)})
    tracker.log_tags({KIND_TAG: "ensemble", "strata.dataset_digest": runs[0].dataset_digest})
    tracker.log_metrics(
        {
            "eval_top1_error": of_ensemble.top1,
            "eval_top5_error": of_ensemble.top5,
            "eval_images": of_ensemble.images,
            "median_member_top1_error": median,
            "gain_over_median_member": median - of_ensemble.top1,
        },
        step=0,
    )
    for member in runs:
        tracker.adopt(member.run_id)


def table(runs: Sequence[TrainedRun], of_members: dict[str, Errors], name: str, of_ensemble: Errors) -> str:
    """Members and ensemble, a line each."""
    width = max(len(name), *(len(member.name) for member in runs))
    lines = [f"{'':{width}}  top-1 error  top-5 error  images/s"]
    for member in runs:
        error = of_members[member.run_id]
        lines.append(f"{member.name:{width}}  {error.top1:11.2%}  {error.top5:11.2%}  {member.images_per_s:8,.0f}")
    lines.append(f"{name:{width}}  {of_ensemble.top1:11.2%}  {of_ensemble.top5:11.2%}")
    return "\n".join(lines)


if __name__ == "__main__":
    run(EnsembleSettings, main, "spark-submit jobs/ensemble.py")
