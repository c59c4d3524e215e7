"""A dataset's encodings: pixels to stored bytes and back. Pixels are uint8, (H, W, 1) greyscale or (H, W, 3) RGB."""

from typing import Any, Literal

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from typing_extensions import Buffer

from pipelines.images.regions import SOI, Region, cut_out, restart_interval, with_pieces_listed

Image = NDArray[np.uint8]


class DecodeError(ValueError):
    """These bytes are no image that can be read."""


def decode(encoded: Buffer, channels: int) -> Image:
    """(H, W, channels) pixels of a stored JPEG or PNG."""
    raw = memoryview(encoded).cast("B")
    return _decode_jpeg(raw, channels) if raw[:2] == SOI else _decode_png(raw, channels)


def decode_region(encoded: Buffer, channels: int, region: Region, at_least: tuple[int, int] = (0, 0)) -> Image:
    """The pixels of a part of a stored image, the same as in the whole; of a JPEG, the rest is not decoded.

    at_least: (height, width) that suffice: where the region has twice that or more, a JPEG is decoded at 1/2, 1/4 or
    1/8 of its size, and the region with it, rounded to whole pixels. (0, 0): at its own size.
    """
    raw = memoryview(encoded).cast("B")
    if raw[:2] != SOI:
        return _part(_decode_png(raw, channels), region, 1)
    cut, within = cut_out(raw, region)
    shrink = _shrink(region, at_least)
    return _part(_decode_jpeg(cut, channels, shrink), within, shrink)


def _shrink(region: Region, at_least: tuple[int, int]) -> int:
    if not all(at_least):
        return 1
    return max(factor for factor in (1, 2, 4, 8) if factor == 1 or _covers(region, at_least, factor))


def _covers(region: Region, at_least: tuple[int, int], factor: int) -> bool:
    return region.height >= factor * at_least[0] and region.width >= factor * at_least[1]


def _part(pixels: Image, region: Region, shrink: int) -> Image:
    rows, columns, _ = pixels.shape
    height, width = round(region.height / shrink), round(region.width / shrink)
    if -(-(region.top + region.height) // shrink) > rows or -(-(region.left + region.width) // shrink) > columns:
        raise DecodeError(f"{rows * shrink} x {columns * shrink} pixels, other than the dataset says")
    top, left = min(round(region.top / shrink), rows - height), min(round(region.left / shrink), columns - width)
    return pixels[top : top + height, left : left + width]


def _decode_jpeg(raw: Buffer, channels: int, shrink: int = 1) -> Image:
    try:
        scaled = _sides(raw, shrink) if shrink > 1 else {}
        return np.asarray(simplejpeg.decode_jpeg(raw, "GRAY" if channels == 1 else "RGB", **scaled), np.uint8)
    except (ValueError, KeyError) as error:  # KeyError: a sampling that simplejpeg has no name for
        raise DecodeError(str(error).strip()) from None


def _sides(jpeg: Buffer, shrink: int) -> dict[str, int]:
    """What makes libjpeg-turbo, which takes the smallest scale that suffices, decode at 1/shrink."""
    height, width, *_ = simplejpeg.decode_jpeg_header(jpeg)
    return {"min_height": -(-height // shrink), "min_width": -(-width // shrink)}


def _decode_png(raw: memoryview, channels: int) -> Image:
    try:
        pixels = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise DecodeError(str(error).strip()) from None
    if pixels is None:
        raise DecodeError("neither JPEG nor PNG, or damaged")
    if channels == 1:
        return np.asarray(pixels[:, :, None], np.uint8)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


def encode(pixels: Image, format: Literal["jpeg", "png"], quality: int) -> bytes:
    """`pixels` as JPEG of that quality, or as PNG, which is lossless.

    JPEG has colours at half resolution (4:2:0), and restart markers so that a part of it can be decoded alone.
    """
    _, width, channels = pixels.shape
    bgr = pixels if channels == 1 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    if format == "png":
        return _encode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    ]
    interval = restart_interval(width, mcu_width=8 if channels == 1 else 16)
    return with_pieces_listed(_encode(".jpg", bgr, [*options, cv2.IMWRITE_JPEG_RST_INTERVAL, interval]))


def _encode(extension: str, bgr: NDArray[Any], options: list[int]) -> bytes:
    done, encoded = cv2.imencode(extension, bgr, options)
    assert done, "OpenCV encodes every uint8 image of one or three channels"
    return bytes(encoded)


cv2.setNumThreads(0)  # images are the parallelism, one a thread or process; OpenCV's own threads would compete
