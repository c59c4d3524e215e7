"""New images to their classes by a logged model: `spark-submit jobs/score.py CONF.yaml [key=value …]`."""

from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines.command_line import run
from pipelines.config import ScoreSettings
from pipelines.dataset.storage import Location
from pipelines.scoring.score import score
from pipelines.spark import spark_session
from pipelines.tracking.logged_model import fetch_model


def main(settings: ScoreSettings) -> None:
    with TemporaryDirectory(prefix="strata-model-") as folder:
        model = fetch_model(settings.tracking, settings.model, Path(folder))
        report = score(spark_session("strata-score"), settings, model)
    place = Location.at(settings.output.path)
    rejected = ", ".join(f"{count:,} {reason}" for reason, count in report.rejected.items())
    print(
        f"\nscored     {report.scored:,} images of {report.source}\n"
        f"rejected   {rejected or 'none'}\n"
        f"images/s   {report.images_per_s:,.0f}\n"
        f"model      {report.model}\n"
        f"scores     {place / 'scores'}\n"
        + (f"rejects    {place / 'rejects'}\n" if report.rejected else "")
        + f"next: python -c \"import pandas; print(pandas.read_parquet('{place / 'scores'}'))\""
    )


if __name__ == "__main__":
    run(ScoreSettings, main, "spark-submit jobs/score.py")
