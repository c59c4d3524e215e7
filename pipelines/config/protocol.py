"""How an image is shown to a network that is evaluated."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipelines.config.base import Settings

_LARGEST_GRID = 20


class ProtocolSettings(Settings):
    """What the papers call testing: which views of an image the network sees, and how its answers become one."""

    kind: Literal["as_trained", "centre_crop", "ten_crop", "multi_crop", "dense"] = "as_trained"
    """as_trained: as the training validated. centre_crop: one view. ten_crop: corners, centre, and all mirrored;
    probabilities are averaged (Krizhevsky et al. 2012, section 4.1). multi_crop: a regular grid of crops and their
    mirrored twins at each scale, likewise. dense: the network slid over the whole image, its fully connected layers as
    convolutions; the scores of all places are averaged, then probabilities over the mirrored twin and the scales
    (Simonyan and Zisserman 2015, section 3.2, for this and the one before)."""
    test_scales: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Shorter sides, in pixels, that images are resized to; probabilities are averaged over them. [256, 384, 512] and
    multi_crop make VGG's 150 crops. Empty: images keep the size that they are stored in."""
    crop: int | None = Field(None, ge=1)
    """Side, in pixels, of the crops; null: of the images that the network was trained on, which must be square."""
    grid: int = Field(5, ge=1, le=_LARGEST_GRID)
    """Of multi_crop: places down and across; 5 make 50 crops a scale."""
    flip: bool = True
    """Of multi_crop and dense: see the mirrored twin of everything, too."""

    @model_validator(mode="after")
    def _fits(self) -> "ProtocolSettings":
        if self.kind == "as_trained" and (self.test_scales or self.crop):
            raise ValueError("protocol.test_scales and protocol.crop are not for protocol.kind = as_trained")
        if self.kind == "dense" and self.crop:
            raise ValueError("protocol.crop is not for protocol.kind = dense, which takes whole images")
        if len(set(self.test_scales)) < len(self.test_scales):
            raise ValueError(f"protocol.test_scales = {list(self.test_scales)}: each scale once")
        return self

    @property
    def label(self) -> str:
        """A short name that tells it from every other protocol: `dense-256-384-512`."""
        words = [self.kind, *map(str, self.test_scales)]
        if self.crop:
            words.append(f"crop{self.crop}")
        if self.kind == "multi_crop":
            words.append(f"grid{self.grid}")
        if self.kind in ("multi_crop", "dense") and not self.flip:
            words.append("unflipped")
        return "-".join(words)
