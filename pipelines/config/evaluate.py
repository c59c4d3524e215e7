"""Settings of jobs/evaluate.py and jobs/ensemble.py."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from pipelines.config.base import Settings
from pipelines.config.tracking import TrackingSettings


class EvaluateSettings(Settings):
    """Settings of jobs/evaluate.py: predictions and errors of trained runs over the validation images."""

    dataset: str
    """Folder or address of the dataset to predict; it must be the one the runs were trained on."""
    runs: tuple[str, ...] = ()
    """Run ids or names; empty: the newest finished run of each name in the experiment."""
    predictions: Path = Path("work/predictions")
    """Predictions are written as Parquet, a folder a run."""
    average: bool = False
    """Predict with the moving average of the weights, of runs trained with ema_decay."""
    global_batch: int = Field(256, ge=1)
    """Images in one step over all workers together; padded up to a multiple of their number."""
    decode_threads: int = Field(2, ge=1)
    """Threads that decode images, for each worker."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: this worker's GPU if there is one."""
    tracking: TrackingSettings = TrackingSettings()


class EnsembleSettings(Settings):
    """Settings of jobs/ensemble.py: the average of the predictions of several runs."""

    name: str
    """Of the ensemble's run."""
    runs: tuple[str, ...] = ()
    """Run ids or names; empty: the newest finished run of each name in the experiment."""
    predictions: Path = Path("work/predictions")
    """Where jobs/evaluate.py left the members' predictions; the ensemble's own go there too."""
    tracking: TrackingSettings = TrackingSettings()
