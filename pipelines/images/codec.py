"""A dataset's encodings: pixels to stored bytes and back. Pixels are uint8, (H, W, 1) greyscale or (H, W, 3) RGB."""

from typing import Literal

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from typing_extensions import Buffer

Image = NDArray[np.uint8]


class DecodeError(ValueError):
    """These bytes are no image that can be read."""


def decode(encoded: Buffer, channels: int) -> Image:
    """(H, W, channels) pixels of a stored JPEG or PNG."""
    raw = memoryview(encoded)
    try:
        if raw[:2].tobytes() == b"\xff\xd8":
            return np.asarray(simplejpeg.decode_jpeg(raw, "GRAY" if channels == 1 else "RGB"), np.uint8)
        pixels = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR)
    except (cv2.error, ValueError) as error:
        raise DecodeError(str(error).strip()) from None
    if pixels is None:
        raise DecodeError("neither JPEG nor PNG, or damaged")
    if channels == 1:
        return np.asarray(pixels[:, :, None], np.uint8)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


def encode(pixels: Image, format: Literal["jpeg", "png"], quality: int) -> bytes:
    """`pixels` as JPEG of that quality, colours at half resolution (4:2:0), or as PNG, which is lossless."""
    grey = pixels.shape[2] == 1
    if format == "jpeg":
        contiguous = np.ascontiguousarray(pixels)
        colours, subsampling = ("GRAY", "Gray") if grey else ("RGB", "420")
        return bytes(simplejpeg.encode_jpeg(contiguous, quality, colours, subsampling))
    bgr = pixels if grey else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    done, encoded = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    assert done, "OpenCV encodes every uint8 image of one or three channels"
    return bytes(encoded)


cv2.setNumThreads(0)  # images are the parallelism, one a thread or process; OpenCV's own threads would compete
