"""Settings of jobs/train.py."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from pipelines.config.base import InputError, Settings, digest_of
from pipelines.config.loader import LoaderSettings
from pipelines.config.tracking import TrackingSettings


class ModelSettings(Settings):
    name: str
    """One of models.names(), such as lenet5_modern. Classes, channels and input size come from the dataset's images."""
    options: dict[str, Any] = Field({})
    """What to change of the network. lenet5: competition (of the classes, in its loss). alexnet, alexnet_two_tower,
    zfnet, zfnet_large: dropout. vgg_a to vgg_e: dropout, batch_norm. googlenet: dropout, auxiliary, auxiliary_dropout.
    fully_connected: hidden (a list of units), bias, dropout. Dropouts are shares of outputs, the paper's if not given;
    0 is to do without. See the network's file in models/."""


class OptimizerSettings(Settings):
    lr: float = Field(0.1, gt=0)
    """Peak learning rate of SGD."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Share of the last update that the next one keeps."""
    weight_decay: float = Field(1e-4, ge=0)
    """L2 penalty, added to the gradient."""
    nesterov: bool = False
    """Look ahead along the momentum."""

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> "OptimizerSettings":
        if self.nesterov and not self.momentum:
            raise ValueError("optimizer.nesterov = true needs optimizer.momentum above 0")
        return self


class ScheduleSettings(Settings):
    kind: Literal["constant", "cosine"] = "cosine"
    """How the learning rate moves after the warm-up."""
    warmup_epochs: float = Field(0, ge=0)
    """Epochs over which the learning rate rises linearly to its peak."""


class MixingSettings(Settings):
    mixup_alpha: float = Field(0.0, ge=0, le=100)
    """Above 0: MixUp blends every training image, and its label, with another of its batch, in shares drawn once a
    step from Beta(alpha, alpha) (Zhang et al. 2018, who take 0.2 for ImageNet). 0: never."""
    cutmix_alpha: float = Field(0.0, ge=0, le=100)
    """Above 0: CutMix pastes a box of another image of the batch into every training image and shares the label by
    area, drawn from Beta(alpha, alpha) (Yun et al. 2019, who take 1). 0: never. With both above 0, each step does the
    one or the other with equal probability."""


class TrainSettings(Settings):
    """Settings of jobs/train.py: one network, trained data-parallel by however many workers launch it."""

    dataset: str
    """Folder, or hdfs://, s3:// or gs:// address, of a dataset that jobs/preprocess.py made."""
    model: ModelSettings
    loader: LoaderSettings = LoaderSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    mixing: MixingSettings = MixingSettings()
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of every training label that goes to all classes evenly (Szegedy et al. 2016, section 7, who take 0.1)."""
    tracking: TrackingSettings = TrackingSettings()
    epochs: int = Field(90, ge=1)
    """Passes over the training images."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Of initial weights, order and augmentation."""
    name: str = Field("", pattern=r"^[^/]*$")
    """Of the run; empty: the network, the dataset and the seed."""
    runs_dir: Path = Path("work/runs")
    """Checkpoints lie in a folder of this one, one folder for each distinct training."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: this worker's GPU if there is one."""
    fresh: bool = False
    """Start anew even if a checkpoint of the same training exists."""

    @model_validator(mode="after")
    def _mixing_needs_partners(self) -> "TrainSettings":
        lanes, batch = self.loader.lanes, self.loader.global_batch
        if (self.mixing.mixup_alpha or self.mixing.cutmix_alpha) and batch == lanes:
            raise InputError(
                f"mixing needs two images of every lane in a batch, and loader.lanes = {lanes} leaves one of "
                f"loader.global_batch = {batch}: lower loader.lanes to a half of it or less"
            )
        return self

    @property
    def dataset_name(self) -> str:
        return self.dataset.partition("?")[0].rstrip("/").rpartition("/")[2]

    def run_name(self) -> str:
        """What people call this run: `lenet5_modern-digits-seed1`."""
        return self.name or f"{self.model.name}-{self.dataset_name}-seed{self.seed}"

    def identity(self, dataset_digest: str) -> str:
        """Equal for two commands that train the same weights: same settings on the same data."""
        tree = self.model_dump(mode="json", exclude={"dataset", "tracking", "runs_dir", "name", "device", "fresh"})
        for pace in ("decode_threads", "reader_threads", "readahead_row_groups", "prefetch_batches"):
            del tree["loader"][pace]
        return digest_of({"settings": tree, "dataset": dataset_digest})
