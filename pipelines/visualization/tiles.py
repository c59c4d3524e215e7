"""Filters, maps and images as tiles of one picture, each on a scale that shows it."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Pixels = NDArray[np.float32]
"""(H, W, 3) from 0 to 1, NaN where there is nothing."""
Tile = NDArray[np.float32]
"""Pixels, or values (H, W)."""

_LEAST_SIDE = 64


def around_grey(values_CHW: Tensor, share: float = 1.0) -> Pixels:
    """Signed values of one or three channels: zero is mid-grey, the largest magnitude black or white.

    share: of the values that are not zero, how many keep within black and white; below 1, a few pixels that outshine
    the others by far do not leave those grey.
    """
    magnitudes = values_CHW.abs()
    magnitudes = magnitudes[magnitudes > 0]
    full = magnitudes.cpu().quantile(share) if len(magnitudes) else 1.0
    return _three_channels((0.5 + 0.5 * (values_CHW.cpu() / full).clamp(-1, 1)).permute(1, 2, 0))


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


def magnified(tiles: Sequence[Tile]) -> list[Tile]:
    """Small tiles with each pixel as a square of several, so that the gaps between them can be thin."""
    times = max(1, _LEAST_SIDE // max(tiles[0].shape[:2]))
    return [tile.repeat(times, 0).repeat(times, 1) for tile in tiles]


def gap_of(tiles: Sequence[Tile]) -> int:
    """Pixels between two of them."""
    return max(1, max(tiles[0].shape[:2]) // 20)


def sheet(tiles: Sequence[Tile], across: int, gap: int = 1) -> Tile:
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
