"""Settings of jobs/report.py."""

from pathlib import Path

from pydantic import Field, model_validator

from pipelines.config.base import InputError, Settings
from pipelines.config.tracking import TrackingSettings


class ReportSettings(Settings):
    """Settings of jobs/report.py: one page about all runs of a study, which is an experiment of MLflow's."""

    study: str = Field("", max_length=500)
    """The experiment; it may be given as the first word, without its key."""
    output: Path = Path("work/report")
    """The page goes to OUTPUT/STUDY/index.html, the same in Markdown to report.md beside it, with its pictures."""
    log: bool = False
    """Put the page among the artifacts of the study's newest ensemble, too; --log does the same."""
    tracking: TrackingSettings = TrackingSettings()

    @model_validator(mode="after")
    def _about_one_study(self) -> "ReportSettings":
        if not self.study:
            raise InputError("study is missing: name an experiment first, as in `report.py digits`")
        if "experiment" in self.tracking.model_fields_set and self.tracking.experiment != self.study:
            raise InputError(
                f"study = {self.study} is an experiment, and tracking.experiment = {self.tracking.experiment} is "
                "another: leave the latter out"
            )
        return self

    @property
    def store(self) -> TrackingSettings:
        """Where the study's runs are."""
        return self.tracking.model_copy(update={"experiment": self.study})
