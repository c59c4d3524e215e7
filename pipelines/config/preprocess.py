"""Settings of jobs/preprocess.py."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipelines.config.base import Settings
from pipelines.config.tracking import TrackingSettings
from pipelines.config.transforms import Transform

SourceKind = Literal["digits", "idx", "ilsvrc", "kaggle", "imagefolder", "hf_parquet", "webdataset"]


class SourceSettings(Settings):
    kind: SourceKind | None = None
    """Layout of the source; without it, it is detected from source.path. digits: the 1,797 handwritten digits that
    scikit-learn carries. idx: MNIST's own four files, gzipped or not. ilsvrc: the folder with ILSVRC2012's tars and
    devkit, as downloaded or unpacked. kaggle: Kaggle's ILSVRC/Data/CLS-LOC. imagefolder: one folder a class, or
    train/ and val/ of such. hf_parquet: Hugging Face's Parquet files with columns image and label. webdataset: tars of
    pairs such as 0001.jpg and 0001.cls."""
    path: str | None = None
    """The folder to read: a local path, hdfs://, s3:// or gs://; digits need none."""
    val_path: str | None = None
    """imagefolder: the root of the validation images, with the same class folders."""
    class_names: tuple[str, ...] = ()
    """Names of the classes in label order; empty: what the source calls them."""
    check_md5: bool = False
    """ilsvrc: compare the three files with their published checksums first; reads 150 GB."""
    follow_links: bool = False
    """Read files that symbolic links outside the source's folder point to; without it they are rejects."""

    @model_validator(mode="after")
    def _path_where_needed(self) -> "SourceSettings":
        if self.kind != "digits" and self.path is None:
            raise ValueError("source.path is missing: the folder of the images (only source.kind = digits needs none)")
        if self.kind == "digits" and self.path:
            raise ValueError(
                f"source.path = {self.path}, but source.kind = digits reads no folder: set another kind, or leave the "
                "path out"
            )
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
    keep_small: bool = False
    """Store a JPEG whose shorter side is not above the size byte for byte, neither enlarged nor encoded again."""
    orientation: Literal["ignore", "apply"] = "ignore"
    """What to do with EXIF orientation. ImageNet's convention, and so the published accuracies', is to ignore it."""
    min_side: int = Field(8, ge=1)
    """An image with a side below this many pixels is rejected as too_small."""
    max_pixels: int = Field(100_000_000, ge=1)
    """An image with more is rejected as too_large, by its header, before anything is decoded."""


class AugmentSettings(Settings):
    variants: int = Field(0, ge=0, le=100)
    """Extra copies of every training image, each with its own draws by (seed, key, variant)."""
    steps: tuple[Transform, ...] = ()
    """What makes a variant, in order. A first step that chooses a size (random_resized_crop, scale_jitter) works on
    the source's own pixels, any other on the image as it is stored."""
    multi_scale: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = ()
    """Extra copies of every training image with these shorter sides; [256, 384, 512] are VGG's."""

    @model_validator(mode="after")
    def _variants_need_steps(self) -> "AugmentSettings":
        if bool(self.variants) != bool(self.steps):
            raise ValueError(
                f"augment.variants = {self.variants} with {len(self.steps)} augment.steps: give both or none"
            )
        if any(step.kind == "ten_crop" for step in self.steps):
            raise ValueError("augment.steps: ten_crop makes ten images of one; it belongs into loader.val_transforms")
        if len(set(self.multi_scale)) < len(self.multi_scale):
            raise ValueError(f"augment.multi_scale = {list(self.multi_scale)} names a scale twice")
        return self


class OutputSettings(Settings):
    path: str
    """The dataset's folder, or its hdfs://, s3:// or gs:// address; manifest.json in it is written last and names what
    the dataset is. On a cluster, a place that all its machines share."""
    rows_per_group: int = Field(256, ge=1)
    """Images in a Parquet row group, the unit in which the loader reads."""
    rows_per_file: int = Field(8192, ge=1)
    """Images in a Parquet file, the unit in which Spark works."""
    files_per_wave: int | None = Field(None, ge=1)
    """Files between two commits: a job that is killed goes on after the last. none: four for every core."""
    prune: bool = False
    """Remove older versions once the new one is published; without it they are kept."""


class PreprocessSettings(Settings):
    """Settings of jobs/preprocess.py: raw images to a Petastorm dataset."""

    source: SourceSettings
    image: ImageSettings = ImageSettings()
    augment: AugmentSettings = AugmentSettings()
    output: OutputSettings
    tracking: TrackingSettings | None = None
    """With tracking.uri, the report is an MLflow run too, which the manifest names."""
    val_fraction: float = Field(0.2, ge=0, lt=1)
    """Held out of every class for validation, by hash of the key, where the source has no validation set of its own."""
    max_reject_fraction: float = Field(0.01, ge=0, le=1)
    """More rejected images than this fail the job."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Of the global shuffle and the split."""
