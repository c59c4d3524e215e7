"""One image: encoded bytes in, a stored image or a named reject out. Pure: no Spark, no files."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.config import ImageSettings
from pipelines.dataset.codec import DecodeError, Image, decode, encode

Reason = Literal["empty", "decode_error"]


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
        pixels = resize(decode(raw, settings.channels), settings)
    except DecodeError as error:
        return Reject("decode_error", str(error))
    height, width, channels = pixels.shape
    flat = pixels.reshape(-1, channels).astype(np.float64)
    return Stored(
        encode(pixels, settings.format, settings.quality),
        height,
        width,
        flat.sum(0).astype(np.int64),  # whole numbers far below 2**53: exact, so independent of order
        (flat.T @ flat).astype(np.int64),
    )


def resize(pixels: Image, settings: ImageSettings) -> Image:
    """To the size asked for: averaging areas on the way down, cubic on the way up."""
    height, width, channels = pixels.shape
    if settings.resize == "none":
        return pixels
    if settings.resize == "square":
        target_width, target_height = settings.size, settings.size
    else:
        scale = settings.size / min(height, width)
        target_width, target_height = max(1, round(width * scale)), max(1, round(height * scale))
    if (target_height, target_width) == (height, width):
        return pixels
    down = target_height * target_width < height * width
    resized = cv2.resize(
        pixels, (target_width, target_height), interpolation=cv2.INTER_AREA if down else cv2.INTER_CUBIC
    )
    # OpenCV drops a channel axis of one.
    return np.asarray(resized, np.uint8).reshape(target_height, target_width, channels)
