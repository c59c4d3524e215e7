"""One image: encoded bytes in, a stored image or a named reject out. Pure: no Spark, no files."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.config import ImageSettings
from pipelines.dataset.codec import DecodeError, Image, decode, encode

Reason = Literal["empty", "decode_error", "too_long"]

LONGEST_SIDE = 65_500
"""Pixels; JPEG holds no more."""


@dataclass(frozen=True)
class Stored:
    """An image as it goes into the dataset, and the sums its pixels add to the statistics."""

    encoded: bytes
    height: int
    width: int
    pixel_sum: NDArray[np.int64]
    """(C,), over all pixels."""
    product_sum: NDArray[np.int64]
    """(C, C), of the products of channels, over all pixels."""


@dataclass(frozen=True)
class Reject:
    """An image that cannot be used."""

    reason: Reason
    detail: str


def process(raw: bytes, settings: ImageSettings) -> Stored | Reject:
    """Decode, resize and encode one image, as the settings ask."""
    if not raw:
        return Reject("empty", "0 bytes")
    try:
        decoded = decode(raw, settings.channels)
    except DecodeError as error:
        return Reject("decode_error", str(error))
    height, width = target_size(decoded, settings)
    if max(height, width) > LONGEST_SIDE:
        return Reject("too_long", f"{decoded.shape[0]} x {decoded.shape[1]} pixels would become {height} x {width}")
    pixels = resize(decoded, height, width)
    channels = pixels.shape[2]
    flat = pixels.reshape(-1, channels).astype(np.float64)
    return Stored(
        encode(pixels, settings.format, settings.quality),
        height,
        width,
        flat.sum(0).astype(np.int64),  # whole numbers far below 2**53: exact, so independent of order
        (flat.T @ flat).astype(np.int64),
    )


def target_size(pixels: Image, settings: ImageSettings) -> tuple[int, int]:
    """(height, width) that the settings ask for."""
    height, width, _ = pixels.shape
    if settings.resize == "square":
        return settings.size, settings.size
    if settings.resize == "none":
        return height, width
    scale = settings.size / min(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def resize(pixels: Image, height: int, width: int) -> Image:
    """Averaging areas on the way down, cubic on the way up."""
    if pixels.shape[:2] == (height, width):
        return pixels
    down = height * width < pixels.shape[0] * pixels.shape[1]
    resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if down else cv2.INTER_CUBIC)
    # OpenCV drops a channel axis of one.
    return np.asarray(resized, np.uint8).reshape(height, width, pixels.shape[2])
