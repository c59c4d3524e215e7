"""Filters, maps and images as tiles of one picture, each on a scale that shows it."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Pixels = NDArray[np.float32]
"""(H, W, 3) from 0 to 1; as a sheet, with NaN where there is no tile."""


def around_grey(values_CHW: Tensor) -> Pixels:
    """Signed values of one or three channels: zero is mid-grey, the largest magnitude black or white."""
    largest = values_CHW.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    return _three_channels((0.5 + 0.5 * values_CHW / largest).permute(1, 2, 0))


def as_stored(image_HWC: Tensor) -> Pixels:
    """A uint8 image."""
    return _three_channels(image_HWC / 255)


def _three_channels(image_HWC: Tensor) -> Pixels:
    pixels: Pixels = image_HWC.cpu().expand(-1, -1, 3).numpy().astype(np.float32)
    return pixels


def crop(pixels: Pixels, box: Sequence[int], side: int) -> Pixels:
    """The box (top, left, bottom, right) of an image in a square of `side`, NaN around it.

    A box that an edge of the image cuts off keeps to the other side, so that its centre stays in the middle.
    """
    top, left, bottom, right = box
    tile = np.full((side, side, 3), np.nan, np.float32)
    height, width = bottom - top, right - left
    row = side - height if top == 0 and bottom < pixels.shape[0] else 0
    column = side - width if left == 0 and right < pixels.shape[1] else 0
    tile[row : row + height, column : column + width] = pixels[top:bottom, left:right]
    return tile


def sheet(tiles: Sequence[NDArray[np.float32]], across: int, gap: int = 1) -> NDArray[np.float32]:
    """Tiles of equal shape, (H, W) or (H, W, 3), row by row; NaN between them and where the last row is not full."""
    height, width, *channels = tiles[0].shape
    down = math.ceil(len(tiles) / across)
    shape = (down * (height + gap) - gap, across * (width + gap) - gap, *channels)
    result = np.full(shape, np.nan, np.float32)
    for number, tile in enumerate(tiles):
        top, left = number // across * (height + gap), number % across * (width + gap)
        result[top : top + height, left : left + width] = tile
    return result


def nearly_square(count: int) -> int:
    """Tiles across."""
    return math.ceil(math.sqrt(count))
