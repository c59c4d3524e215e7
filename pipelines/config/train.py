"""Settings of jobs/train.py."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from pipelines.config.base import InputError, Settings, digest_of
from pipelines.config.elastic import ElasticSettings
from pipelines.config.horovod import HorovodSettings
from pipelines.config.loader import LoaderSettings
from pipelines.config.tracking import TrackingSettings

PrecisionKind = Literal["float32", "bfloat16", "float16"]


class ModelSettings(Settings):
    name: str
    """One of models.names(), such as lenet5_modern. Classes, channels and input size come from the dataset's images."""
    options: dict[str, Any] = Field({})
    """What to change of the network. lenet5: competition (of the classes, in its loss). alexnet, alexnet_two_tower,
    zfnet, zfnet_large: dropout. vgg_a to vgg_e: dropout, batch_norm. googlenet: dropout, auxiliary, auxiliary_dropout.
    fully_connected: hidden (a list of units), bias, dropout. Dropouts are shares of outputs, the paper's if not given;
    0 is to do without. See the network's file in models/."""


class OptimizerSettings(Settings):
    kind: Literal["sgd", "alexnet", "lars", "adamw"] = "sgd"
    """sgd: with momentum, as torch and today's recipes mean it: the learning rate scales the whole step. alexnet:
    AlexNet's own form, in whose momentum each gradient keeps the learning rate that it came with (Krizhevsky et al.
    2012, section 5). lars: that form with a rate of its own for every layer, for batches of many thousands (You et al.
    2017, Algorithm 1); its lr, to be seen together with trust_coefficient, is larger than sgd's. adamw: Adam with
    decoupled weight decay (Loshchilov & Hutter 2019, Algorithm 2); its lr is usually about 0.001."""
    lr: float = Field(0.1, gt=0)
    """Peak learning rate: of a global batch of lr_reference_batch images, or of any size if that is not set."""
    lr_reference_batch: int | None = Field(None, ge=1)
    """The peak becomes lr * loader.global_batch / lr_reference_batch, the linear scaling rule (Goyal et al. 2017,
    section 2.1). A ResNet's lr of 0.1 is of 256 images. null: lr as it is."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Share of the last update that the next one keeps; adamw's beta 1."""
    weight_decay: float = Field(1e-4, ge=0)
    """L2 penalty, added to the gradient; with adamw the share, times the learning rate, that weights lose each step."""
    decay_biases_and_norms: bool = True
    """false: no weight decay on biases and on what normalisation layers learn (Goyal et al. 2017, section 5.1, leave
    out the latter)."""
    nesterov: bool = False
    """Of sgd: look ahead along the momentum."""
    trust_coefficient: float = Field(0.001, gt=0)
    """Of lars: how far a layer is moved for the length of its weights (You et al. 2017, Algorithm 1)."""
    beta2: float = Field(0.999, ge=0, lt=1)
    """Of adamw: share of the squared gradients' average that the next one keeps."""

    @model_validator(mode="after")
    def _nesterov_is_of_sgd_with_momentum(self) -> "OptimizerSettings":
        if self.nesterov and not self.momentum:
            raise ValueError("optimizer.nesterov = true needs optimizer.momentum above 0")
        if self.nesterov and self.kind != "sgd":
            raise ValueError(
                f"optimizer.nesterov = true is for optimizer.kind = sgd, not {self.kind}: leave nesterov out"
            )
        return self


class ScheduleSettings(Settings):
    kind: Literal["constant", "cosine", "step", "multi_step", "polynomial", "plateau"] = "cosine"
    """How the learning rate moves after the warm-up. cosine: along half a period to 0. step: times gamma every
    every_epochs. multi_step: times gamma at each of milestones. polynomial: (1 - share of the steps done) ** power.
    plateau: times gamma when the validation error stops improving, as AlexNet, VGG and ResNet were trained."""
    warmup_epochs: float = Field(0, ge=0)
    """Epochs over which the learning rate rises linearly to its peak. They count as epochs in all that follows."""
    gamma: float = Field(0.1, gt=0, le=1)
    """Of step, multi_step and plateau: what the learning rate is multiplied with."""
    every_epochs: int = Field(30, ge=1)
    """Of step: epochs from one change to the next."""
    milestones: tuple[int, ...] = ()
    """Of multi_step: after how many epochs the learning rate changes; ResNet's are [30, 60, 80] of 90."""
    power: float = Field(2.0, gt=0)
    """Of polynomial; 2 is usual with lars (You et al. 2017)."""
    patience_epochs: int = Field(5, ge=1)
    """Of plateau: epochs in a row whose top-1 error on the validation images is no better than the best before them,
    until the learning rate changes; then they are counted anew."""
    max_reductions: int = Field(3, ge=1)
    """Of plateau: how often it changes at the most; AlexNet's did three times."""

    @model_validator(mode="after")
    def _milestones_rise(self) -> "ScheduleSettings":
        if self.kind == "multi_step" and not self.milestones:
            raise ValueError("schedule.kind = multi_step needs schedule.milestones, such as [30, 60, 80]")
        if any(late <= early for early, late in pairwise((0, *self.milestones))):
            raise ValueError(
                f"schedule.milestones = {list(self.milestones)}: give epochs from 1 on, each later than the one before"
            )
        return self


class MixingSettings(Settings):
    mixup_alpha: float = Field(0.0, ge=0, le=100)
    """Above 0: MixUp blends every training image, and its label, with another of its batch, in shares drawn once a
    step from Beta(alpha, alpha) (Zhang et al. 2018, who take 0.2 for ImageNet). 0: never."""
    cutmix_alpha: float = Field(0.0, ge=0, le=100)
    """Above 0: CutMix pastes a box of another image of the batch into every training image and shares the label by
    area, drawn from Beta(alpha, alpha) (Yun et al. 2019, who take 1). 0: never. With both above 0, each step does the
    one or the other with equal probability."""


_NOT_OF_THE_WEIGHTS = {
    *("dataset", "tracking", "runs_dir", "name", "fresh", "profile"),
    *("device", "channels_last", "compile", "activation_checkpointing"),
    *("checkpoint_every_steps", "keep_best", "elastic", "record_samples", "seeds"),
}
"""Settings that say where and how a training runs, but not what it learns."""


class TrainSettings(Settings):
    """Settings of jobs/train.py: one network, trained data-parallel by however many workers launch it."""

    dataset: str
    """Folder, or hdfs://, s3:// or gs:// address, of a dataset that jobs/preprocess.py made."""
    model: ModelSettings
    start_from: str = ""
    """Id or name of a finished training of the experiment, or a checkpoint's file, whose weights training starts from;
    empty: fresh ones. The same network, of another dataset perhaps: what scores the classes stays fresh if their number
    differs. Or a deeper VGG from A, as its paper trained them (Simonyan and Zisserman 2015, section 3.1)."""
    loader: LoaderSettings = LoaderSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    mixing: MixingSettings = MixingSettings()
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of every training label that goes to all classes evenly (Szegedy et al. 2016, section 7, who take 0.1)."""
    accumulation: int = Field(1, ge=1)
    """Micro-batches that a worker's part of a global batch is cut into, one after another on the device. A batch that
    does not fit at once then trains as if it did, but for batch normalisation, which sees micro-batches."""
    clip_norm: float | None = Field(None, gt=0)
    """Shorten the gradient of all weights together, averaged over the workers, to this length where it is longer
    (Pascanu et al. 2013, section 3.2). null: never."""
    ema_decay: float | None = Field(None, gt=0, lt=1)
    """Also keep an exponential moving average of the weights: the share of itself that it keeps each step, such as
    0.9999 (Szegedy et al. 2016, section 8). It is validated beside the weights (ema_val_top1_error and so on) and saved
    with them. In early steps the share is lower, so that the random weights are soon forgotten. null: none."""
    early_stop_epochs: int | None = Field(None, ge=1)
    """End when the top-1 error on the validation images has not improved for so many epochs. null: run all epochs."""
    checkpoint_every_steps: int | None = Field(None, ge=1)
    """Also save a checkpoint after every so many steps, counted through all epochs. null: at the ends of epochs alone,
    and when SIGTERM asks the training to end."""
    keep_best: int = Field(1, ge=0)
    """So many of the epochs with the lowest top-1 error on the validation images keep their checkpoints, beside the two
    newest ones."""
    tracking: TrackingSettings = TrackingSettings()
    epochs: int = Field(90, ge=1)
    """Passes over the training images."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Of initial weights, order and augmentation."""
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**63)], ...] = ()
    """Train once with each of these seeds instead, one training after another, all of them children of one run: the
    members of an ensemble. [1, 2, 5], or [1..7] for all from 1 to 7."""
    name: str = Field("", pattern=r"^[^/]*$")
    """Of the run; empty: the network, the dataset and the seed."""
    runs_dir: Path = Path("work/runs")
    """Checkpoints lie in a folder of this one, one folder for each distinct training."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: this worker's GPU if there is one."""
    precision: PrecisionKind = "float32"
    """Of convolutions and products of matrices in training; weights, gradients, losses and validation stay float32.
    bfloat16 (Kalamkar et al. 2019) has float32's range. float16 (Micikevicius et al. 2018) has more digits and less
    range, so the loss is scaled, and steps whose gradients overflow are left out."""
    tf32: bool = True
    """On GPUs since Ampere: float32 convolutions and products of matrices with 10 bits of mantissa, several times as
    fast. false: with all 23."""
    channels_last: Literal["auto"] | bool = "auto"
    """Keep weights and maps in memory as (N, H, W, C), which convolutions on GPUs are fastest with, above all with less
    than float32. auto: on GPUs."""
    compile: bool = False
    """Compile the network with torch.compile (Ansel et al. 2024): faster steps, after a first one that takes a minute
    or more. On the CPU it needs a C++ compiler."""
    activation_checkpointing: bool = False
    """Of VGG and ResNet networks: keep only what goes into each stage or block, and compute the rest a second time for
    its gradients (Chen et al. 2016): larger batches fit, and steps take about a third longer."""
    overfit_one_batch: bool = False
    """To find mistakes: train on the first batch of the first epoch again and again. Its loss must go towards 0."""
    synthetic_data: bool = False
    """To measure: train on one batch of random images and labels, so that reading costs nothing. Sizes are the
    dataset's; validation reads it as ever."""
    profile: bool = False
    """Write trace.json, which chrome://tracing and Perfetto show, in the run's folder: what rank 0 computed in steps 11
    to 15 of this command. It is logged with the run."""
    record_samples: bool = False
    """Each worker writes samples-*.tsv in the run's folder: of each step, the keys of the images it trained on."""
    horovod: HorovodSettings = HorovodSettings()
    elastic: ElasticSettings = ElasticSettings()
    fresh: bool = False
    """Start anew even if a checkpoint of the same training exists."""

    @field_validator("seeds", mode="before")
    @classmethod
    def _ranges(cls, seeds: object) -> object:
        if not isinstance(seeds, list):
            return seeds
        listed: list[object] = []
        for seed in seeds:
            bounds = re.fullmatch(r"(\d+)\.\.(\d+)", seed) if isinstance(seed, str) else None
            listed += range(int(bounds[1]), int(bounds[2]) + 1) if bounds else [seed]
        if len(set(listed)) < len(listed) or (seeds and not listed):
            raise ValueError(f"seeds = {seeds}: give each seed once, and ranges as FIRST..LAST")
        return listed

    @model_validator(mode="after")
    def _mixing_needs_partners(self) -> "TrainSettings":
        lanes, batch = self.loader.lanes, self.loader.global_batch
        if (self.mixing.mixup_alpha or self.mixing.cutmix_alpha) and batch == lanes:
            raise InputError(
                f"mixing needs two images of every lane in a batch, and loader.lanes = {lanes} leaves one of "
                f"loader.global_batch = {batch}: lower loader.lanes to a half of it or less"
            )
        return self

    @model_validator(mode="after")
    def _micro_batches_are_equal(self) -> "TrainSettings":
        if self.loader.global_batch % self.accumulation:
            raise InputError(
                f"accumulation = {self.accumulation} does not divide loader.global_batch = {self.loader.global_batch}: "
                "micro-batches are of one size; change one of the two"
            )
        return self

    @model_validator(mode="after")
    def _what_excludes_each_other(self) -> "TrainSettings":
        if self.activation_checkpointing and self.compile:
            raise InputError(
                "activation_checkpointing = true cannot go with compile = true: a compiled network decides itself what "
                "to compute again; leave one of the two out"
            )
        if self.overfit_one_batch and self.synthetic_data:
            raise InputError("overfit_one_batch = true is of real images: leave it or synthetic_data = true out")
        patience, early = self.schedule.patience_epochs, self.early_stop_epochs
        if self.schedule.kind == "plateau" and early is not None and early <= patience:
            raise InputError(
                f"early_stop_epochs = {early} ends the training before the rate falls for the first time, after "
                f"schedule.patience_epochs = {patience} without improvement: give a larger number"
            )
        return self

    @model_validator(mode="after")
    def _adasum_has_no_average_to_change(self) -> "TrainSettings":
        for setting, given in (("clip_norm", self.clip_norm), ("precision = float16", self.precision == "float16")):
            if self.horovod.adasum and given:
                raise InputError(
                    f"horovod.adasum = true cannot go with {setting}: it combines the workers' steps, and there are no "
                    "averaged gradients before them; leave one of the two out"
                )
        return self

    @property
    def peak_lr(self) -> float:
        """What the schedule's factor multiplies."""
        if self.optimizer.lr_reference_batch is None:
            return self.optimizer.lr
        return self.optimizer.lr * self.loader.global_batch / self.optimizer.lr_reference_batch

    def micro_batches(self, workers: int) -> int:
        """Into how many a worker's part of a global batch is cut; an InputError if that cannot be done evenly."""
        part = self.loader.global_batch // workers
        if part % self.accumulation:
            raise InputError(
                f"accumulation = {self.accumulation} does not divide the {part} images that each of {workers} workers "
                f"has of loader.global_batch = {self.loader.global_batch}: change accumulation or the number of workers"
            )
        return self.accumulation

    def saves_after(self, step: int) -> bool:
        """Whether a checkpoint is due, though no epoch need end there."""
        return self.checkpoint_every_steps is not None and step % self.checkpoint_every_steps == 0

    @property
    def dataset_name(self) -> str:
        return self.dataset.partition("?")[0].rstrip("/").rpartition("/")[2]

    def run_name(self) -> str:
        """What people call this run: `lenet5_modern-digits-seed1`."""
        return self.name or f"{self.model.name}-{self.dataset_name}-seed{self.seed}"

    def members(self) -> list["TrainSettings"]:
        """One training for each of `seeds`; this one alone if there are none."""
        name = f"{self.name}-seed{{}}" if self.name else ""
        changes = [{"seed": seed, "seeds": (), "name": name.format(seed)} for seed in self.seeds]
        return [self.model_copy(update=change) for change in changes] or [self]

    def identity(self, dataset_digest: str) -> str:
        """Equal for two commands that train the same weights: same settings on the same data."""
        tree = self.model_dump(mode="json", exclude=_NOT_OF_THE_WEIGHTS)
        for pace in ("decode_threads", "reader_threads", "readahead_row_groups", "prefetch_batches"):
            del tree["loader"][pace]
        tree["horovod"] = self.horovod.model_dump(include={"compression", "adasum", "sync_batch_norm"})
        return digest_of({"settings": tree, "dataset": dataset_digest})
