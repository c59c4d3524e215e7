"""Augmentation and cropping of one image: `(pixels, rng) -> pixels`, uint8 (H, W, C) in and out."""

from collections.abc import Callable, Sequence

import numpy as np

from pipelines.config import CentreCrop, InputError, Pad, RandomCrop, RandomFlip, Transform
from pipelines.dataset.codec import Image

Apply = Callable[[Image, np.random.Generator], Image]


def compose(transforms: Sequence[Transform]) -> Apply:
    """All the transforms, one after another; they draw from the generator in that order."""
    steps = [build(transform) for transform in transforms]

    def apply(pixels: Image, rng: np.random.Generator) -> Image:
        for step in steps:
            pixels = step(pixels, rng)
        return pixels

    return apply


def build(transform: Transform) -> Apply:
    """The function that one entry of a configuration's list of transforms stands for."""
    match transform:
        case Pad(size=size):
            return lambda pixels, rng: pad(pixels, size)
        case CentreCrop(size=size):
            return lambda pixels, rng: centre_crop(pixels, size)
        case RandomCrop(size=size, padding=padding):
            return lambda pixels, rng: random_crop(pixels, rng, size, padding)
        case RandomFlip(probability=probability):
            return lambda pixels, rng: random_flip(pixels, rng, probability)


def pad(pixels: Image, size: int) -> Image:
    """(size, size, C): the image centred on black. An InputError if it is larger."""
    height, width, _ = pixels.shape
    if height > size or width > size:
        raise InputError(f"pad to {size} pixels: the image is {height} x {width}, larger; crop it")
    top, left = (size - height) // 2, (size - width) // 2
    return np.pad(pixels, ((top, size - height - top), (left, size - width - left), (0, 0)))


def centre_crop(pixels: Image, size: int) -> Image:
    """(size, size, C) from the middle. An InputError if the image is smaller."""
    height, width, _ = pixels.shape
    return _crop(pixels, (height - size) // 2, (width - size) // 2, size)


def random_crop(pixels: Image, rng: np.random.Generator, size: int, padding: int) -> Image:
    """(size, size, C) from anywhere, after `padding` black pixels were added on every side."""
    if padding:
        pixels = np.pad(pixels, ((padding, padding), (padding, padding), (0, 0)))
    height, width, _ = pixels.shape
    top, left = (int(rng.integers(max(1, side - size + 1))) for side in (height, width))
    return _crop(pixels, top, left, size)


def random_flip(pixels: Image, rng: np.random.Generator, probability: float) -> Image:
    """Mirrored left to right with that probability."""
    return pixels[:, ::-1] if rng.random() < probability else pixels


def _crop(pixels: Image, top: int, left: int, size: int) -> Image:
    height, width, _ = pixels.shape
    if height < size or width < size:
        raise InputError(f"crop of {size} pixels: the image is {height} x {width}, smaller; pad it or store it larger")
    return pixels[top : top + size, left : left + size]
