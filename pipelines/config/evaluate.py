"""Settings of jobs/evaluate.py and jobs/ensemble.py."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from pipelines.config.base import Settings
from pipelines.config.protocol import ProtocolSettings
from pipelines.config.tracking import TrackingSettings

EMA_SUFFIX = "-ema"
"""Ends a protocol's label where the moving average of the weights predicted."""


class EvaluateSettings(Settings):
    """Settings of jobs/evaluate.py: predictions and errors of trained runs over the validation images."""

    dataset: str
    """Folder or address of the dataset whose validation images are predicted."""
    runs: tuple[str, ...] = ()
    """Run ids or names; empty: the newest finished run of each name in the experiment."""
    other_datasets: bool = False
    """Also predict with runs that were trained on another dataset of the same classes, if that dataset is still there
    and none of its training images is among those to predict, going by their keys."""
    protocol: ProtocolSettings = ProtocolSettings()
    predictions: Path = Path("work/predictions")
    """Predictions are written as Parquet, a folder a run, which replaces the run's earlier ones: give another place to
    keep those of several protocols."""
    output: Path = Path("work/evaluation")
    """Pictures and tables go to OUTPUT/RUN/PROTOCOL, and to the run's artifacts."""
    average: bool = False
    """Predict with the moving average of the weights, of runs trained with ema_decay."""
    global_batch: int = Field(256, ge=1)
    """Images in one step over all workers together; padded up to a multiple of their number. Whole images (multi_crop,
    dense) are taken to the device so many at a time, too, and computed a few at once, by their size."""
    decode_threads: int = Field(2, ge=1)
    """Threads that decode images, for each worker."""
    worst: int = Field(24, ge=0)
    """Mistakes to show: those images whose class the network thought least likely."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: this worker's GPU if there is one."""
    tracking: TrackingSettings = TrackingSettings()

    @property
    def protocol_label(self) -> str:
        """Tells apart all that predictions of one run on one dataset can differ by."""
        return self.protocol.label + (EMA_SUFFIX if self.average else "")


class EnsembleSettings(Settings):
    """Settings of jobs/ensemble.py: the average of the predictions of several runs."""

    name: str
    """Of the ensemble's run, and of its registered model."""
    runs: tuple[str, ...] = ()
    """Run ids or names; empty: the newest finished run of each name in the experiment."""
    predictions: Path = Path("work/predictions")
    """Where jobs/evaluate.py left the members' predictions; the ensemble's own go there too."""
    combine: Literal["probabilities", "logits", "weights"] = "probabilities"
    """What is averaged: the members' probabilities; their logits; or their probabilities with weights that are fitted
    on one half of the images, by their likelihood, so that all errors are those on the other half."""
    seed: int = Field(0, ge=0)
    """Of the two halves, which go by a hash of the images' keys, and of the orders of members."""
    orders: int = Field(20, ge=1)
    """Orders of members that the curve over 1, 2, … members is averaged over; all of them if there are no more."""
    greedy: int = Field(10, ge=0)
    """Members that greedy selection takes at the most: each time the one that helps the others best on one half of the
    images; it is judged on the other. One pass over the predictions for each. 0: none is made."""
    worst: int = Field(24, ge=0)
    """Mistakes to show: those images whose class the ensemble thought least likely."""
    output: Path = Path("work/evaluation")
    """Pictures and tables go to OUTPUT/NAME/PROTOCOL, and to the run's artifacts."""
    register_model: bool = True
    """Register the average of the members' networks as models:/NAME; @champion if no version errs less."""
    tracking: TrackingSettings = TrackingSettings()
