"""Pixels to stored bytes and back. Pixels are uint8, (H, W, 1) greyscale or (H, W, 3) RGB."""

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from typing_extensions import Buffer

Image = NDArray[np.uint8]


class DecodeError(ValueError):
    """These bytes are no image that can be read."""


def decode(encoded: Buffer, channels: int) -> Image:
    """(H, W, channels) pixels of any encoding OpenCV reads. EXIF orientation is ignored, ImageNet's convention."""
    flags = (cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR) | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(memoryview(encoded), np.uint8), flags)
    except cv2.error as error:
        raise DecodeError(str(error).strip()) from None
    if pixels is None:
        raise DecodeError("no image format that OpenCV knows, or damaged")
    if channels == 1:
        return np.asarray(pixels[:, :, None], np.uint8)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


def encode(pixels: Image, format: Literal["jpeg", "png"], quality: int) -> bytes:
    """`pixels` as JPEG of that quality, or as PNG, which is lossless."""
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.shape[2] == 3 else pixels
    if format == "jpeg":
        done, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    else:
        done, encoded = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    assert done, "OpenCV encodes every uint8 image of one or three channels"
    return encoded.tobytes()
