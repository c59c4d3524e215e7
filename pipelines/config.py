"""Every setting of every job: its type, its range, its default and what it means.

One frozen tree a job. `command_line.py` fills it from defaults, then a YAML file, then `key=value`.
"""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class InputError(ValueError):
    """Something a user gave (a setting, a file, an image) is wrong; the message says what to do."""


class Settings(BaseModel):
    """A branch of the tree: frozen, and refusing keys nobody declared."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    def shown(self) -> dict[str, Any]:
        """The tree in JSON types, fit to be kept with a run: without the tracking store's address and its password."""
        return self.model_dump(mode="json", exclude={"tracking": {"uri"}})

    def flat(self) -> dict[str, Any]:
        """The leaves of `shown` by dotted key, as MLflow's parameters are named."""
        return _flatten(self.shown())


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            leaves |= _flatten(value, f"{prefix}{key}.")
        else:
            leaves[prefix + key] = value
    return leaves


def digest_of(tree: object) -> str:
    """sha256, in hexadecimal, of anything JSON can hold; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


# --- preprocess ---------------------------------------------------------------------------------


class SourceSettings(Settings):
    kind: Literal["digits", "idx"]
    """digits: the 1,797 handwritten digits that scikit-learn carries. idx: a folder in MNIST's own
    format, gzipped or not (train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-…)."""
    path: Path | None = None
    """The folder to read; digits need none."""
    class_names: tuple[str, ...] = ()
    """Names of the classes in label order; empty: the labels themselves."""

    @model_validator(mode="after")
    def _path_where_needed(self) -> "SourceSettings":
        if self.kind == "idx" and self.path is None:
            raise ValueError("a source of kind idx needs source.path, the folder of the IDX files")
        return self


class ImageSettings(Settings):
    channels: Literal[1, 3] = 3
    """1: greyscale, 3: RGB."""
    resize: Literal["none", "shorter_side", "square"] = "shorter_side"
    """shorter_side keeps the aspect ratio; square does not."""
    size: int = Field(256, ge=1, le=4096)
    """The shorter side, or the square's side, in pixels."""
    format: Literal["jpeg", "png"] = "jpeg"
    """How pixels are stored. png suits lossless, small images."""
    quality: int = Field(90, ge=1, le=100)
    """Of JPEG."""


class OutputSettings(Settings):
    path: Path
    """The dataset's folder; manifest.json in it is written last and names what the dataset is."""
    rows_per_group: int = Field(256, ge=1)
    """Images in a Parquet row group, the unit in which the loader reads."""
    rows_per_file: int = Field(8192, ge=1)
    """Images in a Parquet file, the unit in which Spark works."""


class PreprocessSettings(Settings):
    """Settings of jobs/preprocess.py: raw images to a Petastorm dataset."""

    source: SourceSettings
    image: ImageSettings = ImageSettings()
    output: OutputSettings
    val_fraction: float = Field(0.2, ge=0, lt=1)
    """Held out for validation, by hash of the key, where the source has no validation set of its own."""
    max_reject_fraction: float = Field(0.01, ge=0, le=1)
    """More rejected images than this fail the job."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Of the global shuffle and the split."""


# --- train --------------------------------------------------------------------------------------


class Pad(Settings):
    kind: Literal["pad"]
    size: int = Field(ge=1)
    """Side in pixels; the image is centred on black."""


class CentreCrop(Settings):
    kind: Literal["centre_crop"]
    size: int = Field(ge=1)
    """Side in pixels."""


class RandomCrop(Settings):
    kind: Literal["random_crop"]
    size: int = Field(ge=1)
    """Side in pixels."""
    padding: int = Field(0, ge=0)
    """Black pixels added on every side before the crop."""


class RandomFlip(Settings):
    kind: Literal["random_flip"]
    probability: float = Field(0.5, ge=0, le=1)
    """Of mirroring left to right."""


Transform = Annotated[Pad | CentreCrop | RandomCrop | RandomFlip, Field(discriminator="kind")]


class LoaderSettings(Settings):
    global_batch: int = Field(256, ge=1)
    """Images in one step over all workers together."""
    lanes: int = Field(16, ge=1)
    """Equal strands an epoch is cut into. Divides global_batch; the number of workers divides it."""
    window_row_groups: int = Field(4, ge=1)
    """Row groups of a lane whose rows are shuffled together."""
    decode_threads: int = Field(2, ge=1)
    """Threads that decode images, for each worker."""
    reader_threads: int = Field(2, ge=1)
    """Threads that read Parquet, for each worker."""
    prefetch_batches: int = Field(2, ge=1)
    """Batches made ahead of the step that needs them."""
    train_transforms: tuple[Transform, ...] = ()
    """Applied to training images, in order; random ones are drawn by (seed, epoch, row)."""
    val_transforms: tuple[Transform, ...] = ()
    """Applied to validation images, in order."""

    @model_validator(mode="after")
    def _lanes_share_a_batch(self) -> "LoaderSettings":
        if self.global_batch % self.lanes:
            raise ValueError(
                f"loader.global_batch = {self.global_batch} is no multiple of loader.lanes = {self.lanes}: "
                "every lane gives the same number of rows to a batch"
            )
        return self


class ModelSettings(Settings):
    name: str
    """One of models.names(), such as lenet5_modern. Classes and channels come from the dataset."""


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


class TrackingSettings(Settings):
    uri: str = "sqlite:///work/mlflow.db"
    """MLflow's tracking store: an SQLite file or a server's address."""
    artifacts: Path = Path("work/artifacts")
    """Where a local store keeps pictures, models and files; a server has its own place."""
    experiment: str = "default"
    """Runs that are compared with each other share an experiment."""
    log_every_steps: int = Field(10, ge=1)
    """Steps between two points of the per-step curves."""


class TrainSettings(Settings):
    """Settings of jobs/train.py: one network, trained data-parallel by however many workers launch it."""

    dataset: Path
    """Folder of a dataset that jobs/preprocess.py made."""
    model: ModelSettings
    loader: LoaderSettings = LoaderSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
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

    def run_name(self) -> str:
        """What people call this run: `lenet5_modern-digits-seed1`."""
        return self.name or f"{self.model.name}-{self.dataset.name}-seed{self.seed}"

    def identity(self, dataset_digest: str) -> str:
        """Equal for two commands that train the same weights: same settings on the same data."""
        tree = self.model_dump(mode="json", exclude={"dataset", "tracking", "runs_dir", "name", "device", "fresh"})
        for pace in ("decode_threads", "reader_threads", "prefetch_batches"):
            del tree["loader"][pace]
        return digest_of({"settings": tree, "dataset": dataset_digest})


# --- evaluate and ensemble ----------------------------------------------------------------------


class EvaluateSettings(Settings):
    """Settings of jobs/evaluate.py: predictions and errors of trained runs over the validation images."""

    dataset: Path
    """Folder of the dataset to predict; it must be the one the runs were trained on."""
    runs: tuple[str, ...] = ()
    """Run ids or names; empty: the newest finished run of each name in the experiment."""
    predictions: Path = Path("work/predictions")
    """Predictions are written as Parquet, a folder a run."""
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
