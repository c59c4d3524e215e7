"""Settings of jobs/score.py."""

from typing import Literal

from pydantic import Field, model_validator

from pipelines.config.base import Settings
from pipelines.config.preprocess import SourceKind
from pipelines.config.tracking import TrackingSettings


class ScoreSourceSettings(Settings):
    kind: Literal["images", "dataset"] | SourceKind | None = None
    """images: image files in a folder and all folders below it, and in tars among them; or one tar. dataset: a dataset
    that jobs/preprocess.py made. Any layout that jobs/preprocess.py reads, with all of its splits; labels do not
    matter. Without it: dataset if there is a manifest.json, else images."""
    path: str | None = None
    """The folder, tar or dataset: a local path, hdfs://, s3:// or gs://; digits need none."""
    split: Literal["train", "val"] = "val"
    """dataset: the split to score, without augmented variants."""
    follow_links: bool = False
    """Read files that symbolic links outside the source's folder point to; without it they are rejects."""

    @model_validator(mode="after")
    def _path_where_needed(self) -> "ScoreSourceSettings":
        if self.kind != "digits" and self.path is None:
            raise ValueError("source.path is missing: the folder, tar or dataset of the images to score")
        if self.kind == "digits" and self.path:
            raise ValueError(
                f"source.path = {self.path}, but source.kind = digits reads no folder: set another kind, or leave the "
                "path out"
            )
        return self


class ScoreOutputSettings(Settings):
    path: str
    """A folder that must not be there yet, or its hdfs://, s3:// or gs:// address; it appears when all is scored. On a
    cluster, in a place that all its machines share."""
    images_per_file: int | None = Field(None, ge=1)
    """Images in a Parquet file, the unit in which Spark works. none: a 128th of all, but 256 to 4,096."""
    files_per_wave: int | None = Field(None, ge=1)
    """Files between two commits: a job that is killed goes on after the last. none: four for every core."""


class ScoreSettings(Settings):
    """Settings of jobs/score.py: the classes of new images, by a logged model, on a Spark cluster."""

    source: ScoreSourceSettings
    model: str
    """models:/NAME@champion, models:/NAME/3, runs:/ID/model, or the id or name of a finished training of the
    experiment."""
    output: ScoreOutputSettings
    top: int = Field(5, ge=1)
    """Classes listed for each image, the most probable first; no more than there are."""
    batch: int = Field(32, ge=1)
    """Images in one forward pass, all that a task holds decoded."""
    threads: int = Field(1, ge=1)
    """torch's, for each task. With more, tell Spark: --conf spark.task.cpus=THREADS."""
    max_reject_fraction: float = Field(0.1, ge=0, le=1)
    """More rejected images than this fail the job; it goes on where it was if given again with a higher one."""
    tracking: TrackingSettings = TrackingSettings()
