"""Raw images to a Petastorm Parquet dataset: `spark-submit jobs/preprocess.py CONF.yaml [key=value …]`."""

import tempfile
from functools import partial
from pathlib import Path

from pipelines.command_line import run
from pipelines.config import PreprocessSettings, TrackingSettings
from pipelines.dataset.manifest import Manifest
from pipelines.dataset.storage import Location
from pipelines.preprocess.make_dataset import make_dataset
from pipelines.preprocess.statistics import as_text
from pipelines.spark import spark_session


def main(settings: PreprocessSettings) -> None:
    log = partial(log_report, settings, settings.tracking) if settings.tracking else None
    manifest = make_dataset(spark_session("strata-preprocess"), settings, log)
    place = Location.at(settings.output.path)
    print(
        f"\n{as_text(manifest)}\n\n"
        f"dataset    {settings.output.path}\n"
        f"  files    {place / manifest.version}\n"
        f"  report   {place / manifest.version / 'report'}\n"
        + (f"  run      {manifest.run_id}\n" if manifest.run_id else "")
        + f"  digest   {manifest.digest}\n"
        f"next: horovodrun -np 2 python jobs/train.py CONF.yaml dataset={settings.output.path}"
    )


def log_report(settings: PreprocessSettings, tracking: TrackingSettings, manifest: Manifest, report: Location) -> str:
    """The dataset, its settings, figures and pictures as an MLflow run; its id."""
    from pipelines.tracking.runs import KIND_TAG
    from pipelines.tracking.tracker import MlflowTracker

    root = Location.at(settings.output.path)
    with MlflowTracker.begin(tracking, f"preprocess-{root.name}") as tracker, tempfile.TemporaryDirectory() as folder:
        tracker.log_tags({KIND_TAG: "preprocess", "strata.dataset": str(root)})
        tracker.log_parameters(settings.flat())
        tracker.log_dataset(root, manifest, "preprocess")
        rows = {f"{name}_rows": float(split.rows) for name, split in manifest.splits.items()}
        rejects = {f"rejects_{reason}": float(count) for reason, count in manifest.rejects.items()}
        tracker.log_metrics(rows | rejects, step=0)
        tracker.log_text(as_text(manifest), "report/summary.txt")
        for info in report.files():
            picture = Path(folder, info.base_name)
            picture.write_bytes((report / info.base_name).read_bytes())
            tracker.log_file(picture, "report")
    return tracker.run_id


if __name__ == "__main__":
    run(PreprocessSettings, main, "spark-submit jobs/preprocess.py")
