"""What transforms do to pixels, given their parameters: uint8 (H, W, C) in and out. augmentation.py draws parameters.

out: where it is given, a contiguous array of the result's shape that a function may write its result to, and return.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.images.codec import Image
from pipelines.images.regions import Region


def shorter_side_to(height: int, width: int, size: int) -> tuple[int, int]:
    """(height, width) of the same aspect ratio whose shorter side is `size`."""
    scale = size / min(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def resize(pixels: Image, height: int, width: int) -> Image:
    """Averaging areas on the way down, cubic on the way up: for images that are stored or tested."""
    down = height * width < pixels.shape[0] * pixels.shape[1]
    return _resize(pixels, height, width, cv2.INTER_AREA if down else cv2.INTER_CUBIC, None)


def resample(
    pixels: Image, height: int, width: int, how: Literal["linear", "area"] = "linear", out: Image | None = None
) -> Image:
    """Linear, but averaging areas where a side shrinks to half or less: fast, for images that train.

    how: area averages wherever a side shrinks.
    """
    shrink = max(pixels.shape[0] / height, pixels.shape[1] / width)
    averages = shrink > 1 if how == "area" else shrink >= 2
    return _resize(pixels, height, width, cv2.INTER_AREA if averages else cv2.INTER_LINEAR, out)


def _resize(pixels: Image, height: int, width: int, interpolation: int, out: Image | None) -> Image:
    if pixels.shape[:2] == (height, width):
        return pixels
    resized = cv2.resize(pixels, (width, height), dst=_dst(out), interpolation=interpolation)
    return _with_channels(resized, pixels, out)


def _dst(out: Image | None) -> Image | None:
    """OpenCV's arrays have no channel axis of one."""
    return out[:, :, 0] if out is not None and out.shape[2] == 1 else out


def _with_channels(result: NDArray[Any], pixels: Image, out: Image | None) -> Image:
    if result is out or (out is not None and np.may_share_memory(result, out)):
        return out
    return np.asarray(result, np.uint8).reshape(*result.shape[:2], pixels.shape[2])


def pad(pixels: Image, top: int, left: int, height: int, width: int) -> Image:
    """(height, width, C), the image at (top, left) on black."""
    padded = np.zeros((height, width, pixels.shape[2]), np.uint8)
    padded[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return padded


def part(pixels: Image, region: Region) -> Image:
    """A view of the region."""
    top, left, height, width = region
    return pixels[top : top + height, left : left + width]


def flip(pixels: Image, out: Image | None = None) -> Image:
    """Mirrored left to right."""
    return _with_channels(cv2.flip(pixels, 1, dst=_dst(out)), pixels, out)


def warp(pixels: Image, matrix: tuple[tuple[float, float, float], ...], border: int, out: Image | None = None) -> Image:
    """The image moved by a planar affine transformation, linearly interpolated; its size stays.

    matrix: two rows that take (across, down, 1), counted from the centre of the image, to where that pixel goes.
    border: the grey level of what comes in from outside.
    """
    height, width, channels = pixels.shape
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    about_corner = np.array(matrix, np.float64)
    about_corner[:, 2] += centre - about_corner[:, :2] @ centre
    moved = cv2.warpAffine(
        pixels,
        about_corner,
        (width, height),
        dst=_dst(out),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=[border] * channels,
    )
    return _with_channels(moved, pixels, out)


def ten_crop(pixels: Image, size: int, out: Image | None = None) -> Image:
    """(10, size, size, C): corners and centre, then the same of the mirrored image.

    Krizhevsky et al. 2012 (AlexNet), section 4.1.
    """
    height, width, channels = pixels.shape
    bottom, right = height - size, width - size
    crops = np.empty((10, size, size, channels), np.uint8) if out is None else out
    for number, (top, left) in enumerate([(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]):
        crops[number] = pixels[top : top + size, left : left + size]
        crops[number + 5] = crops[number, :, ::-1]
    return crops


class Colours(NamedTuple):
    """Parameters of `change_colours`: 1, 1, 1, 0 change nothing."""

    brightness: float
    contrast: float
    saturation: float
    hue: float
    """In turns of the colour circle."""
    order: tuple[int, ...]
    """In which the four are applied."""


def change_colours(pixels: Image, colours: Colours) -> Image:
    """Brightness, contrast, saturation and hue changed in the order given. Grey has the first two."""
    changes = (
        lambda image: _blend(image, np.zeros_like(image), colours.brightness),
        lambda image: _blend(image, np.full_like(image, round(float(_grey(image).mean()))), colours.contrast),
        lambda image: _blend(image, np.repeat(_grey(image), 3, axis=2), colours.saturation),
        lambda image: _turn_hue(image, colours.hue),
    )
    possible = 4 if pixels.shape[2] == 3 else 2
    for index in colours.order:
        if index < possible:
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


def shift_colours(pixels: Image, shift: Sequence[int], out: Image | None = None) -> Image:
    """One colour, in grey levels, added to all pixels, held within uint8."""
    levels = np.clip(np.arange(256)[:, None] + np.asarray(shift), 0, 255).astype(np.uint8)
    table = levels[None] if len(shift) == 3 else levels.reshape(1, 256)
    return _with_channels(cv2.LUT(np.ascontiguousarray(pixels), table, dst=_dst(out)), pixels, out)
