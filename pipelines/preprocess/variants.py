"""What the variant numbers of a dataset mean, and how a variant is made. Pure, and keyed by (seed, key, variant)."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipelines.config import (
    AugmentSettings,
    ImageSettings,
    InputError,
    MultiScale,
    PcaLighting,
    RandomResizedCrop,
    Resize,
    ScaleJitter,
    Transform,
)
from pipelines.images.augmentation import Augmentation
from pipelines.images.formats import ImageError
from pipelines.images.steps import PrincipalComponents
from pipelines.images.transforms import resize, shorter_side_to
from pipelines.preprocess.image import LONGEST_SIDE, Reject, Stored, process, read_image, store, target_size
from pipelines.preprocess.shuffle import hash_of

_CHOOSE_A_SIZE = (RandomResizedCrop, ScaleJitter, MultiScale, Resize)
"""Transforms that gain from pixels larger than the stored ones."""


@dataclass(frozen=True)
class Variants:
    """Number 0 is the image itself; then the scales of augment.multi_scale; then the random variants."""

    image: ImageSettings
    augment: AugmentSettings
    seed: int
    components: PrincipalComponents | None = None
    """Of the dataset's own training pixels, known once all images of number 0 are written."""

    @property
    def scales(self) -> tuple[int, ...]:
        """Those of augment.multi_scale that number 0 is not."""
        own = self.image.size if self.image.resize == "shorter_side" else None
        return tuple(scale for scale in self.augment.multi_scale if scale != own)

    @property
    def names(self) -> tuple[str, ...]:
        """What each number means, for people."""
        steps = " + ".join(step.kind for step in self.augment.steps)
        return (
            "the image itself",
            *(f"shorter side {scale}" for scale in self.scales),
            *(f"random {number + 1}: {steps}" for number in range(self.augment.variants)),
        )

    @property
    def need_components(self) -> bool:
        return any(isinstance(step, PcaLighting) for step in self.augment.steps)

    def make(self, raw: bytes, key: str, number: int) -> Stored | Reject:
        """Variant `number` of the image; an InputError that names the image if a step does not fit it.

        If one variant would be a reject, all are.
        """
        try:
            made = self._make(raw, key, number)
            if isinstance(made, Stored):
                self._check_scales(made.source_height, made.source_width)
            return made
        except ImageError as error:
            return Reject(error.reason, str(error))
        except InputError as error:
            raise InputError(f"augment.steps, image {key}: {error}") from None

    def _make(self, raw: bytes, key: str, number: int) -> Stored | Reject:
        if number == 0:
            return process(raw, self.image)
        if number <= len(self.scales):
            scaled = {"resize": "shorter_side", "size": self.scales[number - 1], "keep_small": False}
            return process(raw, self.image.model_copy(update=scaled))
        return self._random(raw, key, number)

    def _check_scales(self, height: int, width: int) -> None:
        for size in (*self.scales, *map(_largest_side, self.augment.steps)):
            if max(shorter_side_to(height, width, size)) > LONGEST_SIDE:
                raise ImageError("too_large", f"{height} x {width} pixels, at shorter side {size} too long")

    def _random(self, raw: bytes, key: str, number: int) -> Stored:
        from_the_source = isinstance(self.augment.steps[0], _CHOOSE_A_SIZE)
        decoded = read_image(raw, self.image, whole=from_the_source)
        self._check_scales(decoded.height, decoded.width)
        pixels = decoded.pixels
        if not from_the_source and not decoded.keeps_bytes:
            pixels = resize(pixels, *target_size(decoded.height, decoded.width, self.image))
        rng = np.random.Generator(np.random.Philox(counter=[0, 0, 0, number], key=[self.seed, self.draws_of(key)]))
        return store(np.ascontiguousarray(self._steps(pixels, rng)), decoded, self.image)

    @staticmethod
    def draws_of(key: str) -> int:
        """Which draws are this image's; with seed and variant they key the generator."""
        return hash_of(0, "draws", key)

    @cached_property
    def _steps(self) -> Augmentation:
        return Augmentation(self.augment.steps, self.components)


def _largest_side(step: Transform) -> int:
    """Shorter side that a step may enlarge an image to."""
    match step:
        case ScaleJitter():
            return step.high
        case MultiScale():
            return max(step.sizes)
        case Resize():
            return step.size
        case _:
            return 1
