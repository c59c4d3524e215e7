"""A configuration's list of transforms: drawn for many images at once, applied to one, `(pixels, rng) -> pixels`.

Drawing is apart from applying, and needs no pixels: so parameters can be kept and replayed, and the loader decodes of a
JPEG only what a crop that comes first leaves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from typing_extensions import Buffer

from pipelines.config import Transform
from pipelines.images.build import build
from pipelines.images.codec import Image, decode, decode_region
from pipelines.images.regions import Region
from pipelines.images.steps import Crop, Floats, PrincipalComponents, Sizes, Step, TenCrop


@dataclass(frozen=True)
class Drawn:
    """What an augmentation drew for N images."""

    steps: tuple[Step, ...]
    parameters: list[tuple[Any, ...]]
    """For each image, one for each step; the step's class says what it is."""
    sizes: Sizes
    """(N, 2): height and width that the images get."""

    def of(self, index: int) -> list[tuple[Step, Any]]:
        """The steps with their parameters for one image; `replay` takes them."""
        return list(zip(self.steps, self.parameters[index], strict=True))

    def decode(self, index: int, encoded: Buffer, channels: int) -> Image:
        """What the steps need of image `index`; DecodeError if it cannot be had."""
        if self.steps and isinstance(first := self.steps[0], Crop):
            return decode_region(encoded, channels, self.parameters[index][0], first.at_least)
        return decode(encoded, channels)

    def apply(self, index: int, decoded: Image, out: Image) -> None:
        """Write image `index` to `out`, from what `decode` gave."""
        steps = self.of(index)
        if steps and isinstance(first := steps[0][0], Crop):
            steps[0] = (first, Region(0, 0, *decoded.shape[:2]))
        result = replay(decoded, steps, out)
        if result is not out:
            np.copyto(out, result)


def replay(pixels: Image, drawn: Sequence[tuple[Step, Any]], out: Image | None = None) -> Image:
    """Apply steps with parameters that were drawn before. The last may write to `out`, and then `out` is returned."""
    active = [(step, parameters) for step, parameters in drawn if step.changes(parameters)]
    for number, (step, parameters) in enumerate(active, start=1):
        pixels = step.apply(pixels, parameters, out if number == len(active) else None)
    return pixels


class Augmentation:
    """The steps that a list of transforms stands for.

    components: what pca_lighting needs.
    """

    def __init__(self, transforms: Sequence[Transform], components: PrincipalComponents | None = None) -> None:
        self.steps = tuple(step for transform in transforms for step in build(transform, components))
        self.draws = sum(step.draws for step in self.steps)
        """Uniform numbers that the parameters of one image take."""
        self.makes_views = any(isinstance(step, TenCrop) for step in self.steps)
        """Images come as (10, H, W, C)."""

    def draw(self, uniforms: Floats, sizes: Sizes) -> Drawn:
        """Parameters for N images.

        uniforms: (N, draws) in [0, 1). sizes: (N, 2), heights and widths of the images. Raises UnfitError if a step
        cannot take an image of its size.
        """
        parameters, at = [], 0
        for step in self.steps:
            drawn, sizes = step.draw(uniforms[:, at : at + step.draws], sizes)
            parameters.append(drawn)
            at += step.draws
        of_images = list(zip(*parameters, strict=True)) if parameters else [()] * len(sizes)
        return Drawn(self.steps, of_images, sizes)

    def __call__(self, pixels: Image, rng: np.random.Generator) -> Image:
        """One image, with what the generator draws for it."""
        drawn = self.draw(rng.random((1, self.draws)), np.array([pixels.shape[:2]]))
        return replay(pixels, drawn.of(0))
