"""What changes an image, offline in jobs/preprocess.py or in the loader: entries of a list of transforms."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipelines.config.base import Settings


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


class RandomResizedCrop(Settings):
    kind: Literal["random_resized_crop"]
    size: int = Field(ge=1)
    """Side of the result in pixels."""
    scale: tuple[float, float] = (0.08, 1.0)
    """Smallest and largest share of the area."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Smallest and largest width / height before resizing."""
    interpolation: Literal["linear", "area"] = "linear"
    """linear: but averages where a side shrinks to half or less; area: averages wherever a side shrinks, slower."""

    @model_validator(mode="after")
    def _ranges(self) -> "RandomResizedCrop":
        if not (0 < self.scale[0] <= self.scale[1] <= 1 and 0 < self.ratio[0] <= self.ratio[1]):
            raise ValueError(f"random_resized_crop: scale {self.scale} must rise in (0, 1], ratio {self.ratio} rise")
        return self


class Affine(Settings):
    kind: Literal["affine"]
    translation: float = Field(0, ge=0, le=1)
    """Largest shift across, and largest down, as a share of the image's side."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Smallest and largest factor of both sides."""
    squeeze: float = Field(0, ge=0, lt=1)
    """Largest share by which one side grows while the other shrinks by as much."""
    shear: float = Field(0, ge=0, le=1)
    """Largest slant: pixels across for each pixel down."""
    border: int = Field(0, ge=0, le=255)
    """Grey level of what comes in from outside the image."""

    @model_validator(mode="after")
    def _range(self) -> "Affine":
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"affine: scale {self.scale} must rise from above 0")
        return self


class Resize(Settings):
    kind: Literal["resize"]
    size: int = Field(ge=1)
    """Shorter side of the result in pixels."""


class MultiScale(Settings):
    kind: Literal["multi_scale"]
    sizes: tuple[Annotated[int, Field(ge=1)], ...] = Field((256, 384, 512), min_length=1)
    """Shorter sides in pixels, one of which is drawn."""


class TenCrop(Settings):
    kind: Literal["ten_crop"]
    size: int = Field(ge=1)
    """Side in pixels. An image becomes ten: corners and centre, and all five mirrored."""


class ScaleJitter(Settings):
    kind: Literal["scale_jitter"]
    low: int = Field(256, ge=1)
    """Smallest shorter side in pixels."""
    high: int = Field(512, ge=1)
    """Largest shorter side in pixels."""

    @model_validator(mode="after")
    def _range(self) -> "ScaleJitter":
        if self.low > self.high:
            raise ValueError(f"scale_jitter: low = {self.low} is above high = {self.high}")
        return self


class ColourJitter(Settings):
    kind: Literal["colour_jitter"]
    brightness: float = Field(0, ge=0, le=1)
    """Largest relative change; likewise the next two."""
    contrast: float = Field(0, ge=0, le=1)
    """Largest relative distance from the image's mean grey."""
    saturation: float = Field(0, ge=0, le=1)
    """Largest relative distance from grey."""
    hue: float = Field(0, ge=0, le=0.5)
    """Largest turn of the colour circle."""


class PcaLighting(Settings):
    kind: Literal["pca_lighting"]
    std: float = Field(0.1, ge=0)
    """Of the normal draw that scales each principal component of the dataset's colours."""


Transform = Annotated[
    Pad
    | CentreCrop
    | RandomCrop
    | RandomFlip
    | RandomResizedCrop
    | Affine
    | Resize
    | ScaleJitter
    | MultiScale
    | ColourJitter
    | PcaLighting
    | TenCrop,
    Field(discriminator="kind"),
]
