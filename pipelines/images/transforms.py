"""Resizing, cropping and augmentation of one image: `(pixels, rng) -> pixels`, uint8 (H, W, C) in and out.

The loader applies them to training images as they are read, jobs/preprocess.py materialises them.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.config import (
    CentreCrop,
    ColourJitter,
    InputError,
    Pad,
    PcaLighting,
    RandomCrop,
    RandomFlip,
    RandomResizedCrop,
    ScaleJitter,
    Transform,
)
from pipelines.images.codec import Image

Apply = Callable[[Image, np.random.Generator], Image]

CHOOSE_A_SIZE = (RandomResizedCrop, ScaleJitter)
"""Transforms that gain from pixels larger than the stored ones."""


class PrincipalComponents(NamedTuple):
    """Of the colours of a dataset's training pixels, on the [0, 1] scale."""

    eigenvalues: tuple[float, ...]
    eigenvectors: tuple[tuple[float, ...], ...]
    """A row a channel, a column an eigenvalue."""


def compose(transforms: Sequence[Transform], components: PrincipalComponents | None = None) -> Apply:
    """All the transforms, one after another; they draw from the generator in that order.

    components: what pca_lighting needs.
    """
    steps = [build(transform, components) for transform in transforms]

    def apply(pixels: Image, rng: np.random.Generator) -> Image:
        for step in steps:
            pixels = step(pixels, rng)
        return pixels

    return apply


def build(transform: Transform, components: PrincipalComponents | None = None) -> Apply:
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
        case RandomResizedCrop(size=size, scale=scale, ratio=ratio):
            return lambda pixels, rng: random_resized_crop(pixels, rng, size, scale, ratio)
        case ScaleJitter(low=low, high=high):
            return lambda pixels, rng: scale_jitter(pixels, rng, low, high)
        case ColourJitter():
            return lambda pixels, rng: colour_jitter(pixels, rng, transform)
        case PcaLighting(std=std):
            assert components is not None, "whoever reads pca_lighting has a dataset's statistics"
            return lambda pixels, rng: pca_lighting(pixels, rng, std, components)


def shorter_side_to(height: int, width: int, size: int) -> tuple[int, int]:
    """(height, width) of the same aspect ratio whose shorter side is `size`."""
    scale = size / min(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def resize(pixels: Image, height: int, width: int) -> Image:
    """Averaging areas on the way down, cubic on the way up."""
    if pixels.shape[:2] == (height, width):
        return pixels
    down = height * width < pixels.shape[0] * pixels.shape[1]
    resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if down else cv2.INTER_CUBIC)
    # OpenCV drops a channel axis of one.
    return np.asarray(resized, np.uint8).reshape(height, width, pixels.shape[2])


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


def _crop(pixels: Image, top: int, left: int, size: int) -> Image:
    height, width, _ = pixels.shape
    if height < size or width < size:
        raise InputError(f"crop of {size} pixels: the image is {height} x {width}, smaller; pad it or store it larger")
    return pixels[top : top + size, left : left + size]


def random_flip(pixels: Image, rng: np.random.Generator, probability: float) -> Image:
    """Mirrored left to right with that probability."""
    return pixels[:, ::-1] if rng.random() < probability else pixels


def random_resized_crop(
    pixels: Image, rng: np.random.Generator, size: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> Image:
    """(size, size, C): a part with a random share of the area and a random aspect ratio, resized.

    Szegedy et al. 2015 (GoogLeNet), section 6: area 8% to 100%, aspect ratio 3/4 to 4/3. If ten draws do not fit into
    the image, the largest central part with a legal ratio is taken, as in torchvision.
    """
    height, width, _ = pixels.shape
    part_height, part_width = height, width
    for _ in range(10):
        area = height * width * rng.uniform(*scale)
        aspect = np.exp(rng.uniform(*np.log(ratio)))
        part_height, part_width = round(float(np.sqrt(area / aspect))), round(float(np.sqrt(area * aspect)))
        if 0 < part_height <= height and 0 < part_width <= width:
            top, left = int(rng.integers(height - part_height + 1)), int(rng.integers(width - part_width + 1))
            break
    else:
        part_height, part_width = min(height, round(width / ratio[0])), min(width, round(height * ratio[1]))
        top, left = (height - part_height) // 2, (width - part_width) // 2
    return resize(pixels[top : top + part_height, left : left + part_width], size, size)


def scale_jitter(pixels: Image, rng: np.random.Generator, low: int, high: int) -> Image:
    """Resized to a random shorter side in [low, high] pixels: Simonyan and Zisserman 2015 (VGG), section 3.1."""
    height, width, _ = pixels.shape
    return resize(pixels, *shorter_side_to(height, width, int(rng.integers(low, high + 1))))


def colour_jitter(pixels: Image, rng: np.random.Generator, jitter: ColourJitter) -> Image:
    """Brightness, contrast, saturation and hue changed by random amounts in a random order. Grey has the first two."""
    changes: list[Callable[[Image], Image]] = []
    brightness, contrast, saturation = (
        rng.uniform(1 - width, 1 + width) for width in (jitter.brightness, jitter.contrast, jitter.saturation)
    )
    turn = rng.uniform(-jitter.hue, jitter.hue)
    changes.append(lambda image: _blend(image, np.zeros_like(image), brightness))
    changes.append(lambda image: _blend(image, np.full_like(image, round(float(_grey(image).mean()))), contrast))
    if pixels.shape[2] == 3:
        changes.append(lambda image: _blend(image, np.repeat(_grey(image), 3, axis=2), saturation))
        changes.append(lambda image: _turn_hue(image, turn))
    for index in rng.permutation(len(changes)):
        pixels = changes[index](pixels)
    return pixels


def _grey(pixels: Image) -> Image:
    if pixels.shape[2] == 1:
        return pixels
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)[:, :, None]


def _blend(pixels: Image, other: Image, share: float) -> Image:
    """share * pixels + (1 - share) * other, rounded and held within uint8."""
    mixed = cv2.addWeighted(np.ascontiguousarray(pixels), share, other, 1 - share, 0)
    return np.asarray(mixed, np.uint8).reshape(pixels.shape)


def _turn_hue(pixels: Image, turn: float) -> Image:
    if not turn:
        return pixels
    hsv = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV_FULL), np.uint8)
    hsv[:, :, 0] += np.uint8(round(turn * 256) % 256)  # wraps around, as hue does
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL), np.uint8)


def pca_lighting(pixels: Image, rng: np.random.Generator, std: float, components: PrincipalComponents) -> Image:
    """One colour added to all pixels: the principal components, each times its eigenvalue and a draw from N(0, std).

    Krizhevsky et al. 2012 (AlexNet), section 4.1, with pixels on the [0, 1] scale.
    """
    vectors: NDArray[np.float64] = np.asarray(components.eigenvectors)
    shift = vectors @ (rng.normal(0, std, len(vectors)) * np.asarray(components.eigenvalues)) * 255
    return np.asarray(np.clip(np.rint(pixels + shift), 0, 255), np.uint8)
