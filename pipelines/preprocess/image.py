"""One image: encoded bytes in, a stored image or a named reject out. Pure: no Spark, no files."""

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.config import ImageSettings
from pipelines.images.codec import DecodeError, Image, decode, encode
from pipelines.images.formats import (
    FormatReason,
    Header,
    ImageError,
    orientation_of,
    read_header,
    read_pixels,
    turned,
)
from pipelines.images.transforms import resize, shorter_side_to

SourceReason = Literal["unreadable", "unsafe_path", "no_label"]
"""Why a source gives no bytes or no label for something that it lists."""

Reason = FormatReason | SourceReason

LONGEST_SIDE = 65_500
"""Pixels; JPEG holds no more."""


@dataclass(frozen=True)
class Stored:
    """An image as it goes into the dataset, and the sums its pixels add to the statistics."""

    encoded: bytes
    height: int
    width: int
    source_height: int
    source_width: int
    pixel_sum: NDArray[np.int64]
    """(C,), over all pixels, before a lossy encoding."""
    product_sum: NDArray[np.int64]
    """(C, C), of the products of channels, over all pixels."""

    def without_bytes(self) -> "Stored":
        return replace(self, encoded=b"")

    def with_bytes(self, encoded: bytes) -> "Stored":
        return replace(self, encoded=encoded)


@dataclass(frozen=True)
class Reject:
    """An image that cannot be used."""

    reason: Reason
    detail: str


@dataclass(frozen=True)
class Decoded:
    """An image that may be used, upright if that was asked for, and not smaller than needed."""

    pixels: Image
    height: int
    """Of the whole image, which `pixels` may hold at a smaller scale; likewise the width."""
    width: int
    keeps_bytes: bool
    """Its own bytes are what shall be stored."""


def process(raw: bytes, settings: ImageSettings) -> Stored | Reject:
    """Decode, resize and encode one image, as the settings ask."""
    try:
        decoded = read_image(raw, settings)
    except ImageError as error:
        return Reject(error.reason, str(error))
    if decoded.keeps_bytes:
        return store(decoded.pixels, decoded, settings, raw)
    return store(resize(decoded.pixels, *target_size(decoded.height, decoded.width, settings)), decoded, settings)


def as_stored(raw: bytes, settings: ImageSettings) -> Image | Reject:
    """The pixels that decoding gives once `process` has stored the image, after whatever a lossy encoding does."""
    try:
        decoded = read_image(raw, settings)
    except ImageError as error:
        return Reject(error.reason, str(error))
    if decoded.keeps_bytes:
        return decoded.pixels
    pixels = resize(decoded.pixels, *target_size(decoded.height, decoded.width, settings))
    if settings.format == "png":
        return pixels
    return decode(encode(pixels, settings.format, settings.quality), settings.channels)


def read_image(raw: bytes, settings: ImageSettings, whole: bool = False) -> Decoded:
    """Decode after checking the header. Raises ImageError.

    whole: at its own size, whatever size the settings ask for.
    """
    header = read_header(raw)
    _check_pixels(header, settings)  # before Pillow looks for EXIF, for which it decodes a PNG
    orientation = orientation_of(raw) if settings.orientation == "apply" else 1
    lies_on_its_side = orientation >= 5
    height, width = (header.width, header.height) if lies_on_its_side else (header.height, header.width)
    _check_sides(height, width, settings)
    keeps_bytes = orientation == 1 and _keeps_bytes(header, settings)
    at_least = (0, 0) if whole else target_size(height, width, settings)
    if keeps_bytes:
        with suppress(DecodeError):  # bytes that need mending are encoded anew
            return Decoded(decode(raw, settings.channels), height, width, keeps_bytes)
        keeps_bytes = False
    if lies_on_its_side:
        at_least = at_least[::-1]
    pixels = turned(read_pixels(raw, header, settings.channels, at_least), orientation)
    return Decoded(pixels, height, width, keeps_bytes)


def store(pixels: Image, decoded: Decoded, settings: ImageSettings, raw: bytes | None = None) -> Stored:
    """`pixels` encoded, or with `raw` for their encoding, and their sums."""
    pixel_sum, product_sum = _sums(pixels)
    height, width, _ = pixels.shape
    encoded = encode(pixels, settings.format, settings.quality) if raw is None else raw
    return Stored(encoded, height, width, decoded.height, decoded.width, pixel_sum, product_sum)


def target_size(height: int, width: int, settings: ImageSettings) -> tuple[int, int]:
    """(height, width) that the settings ask for."""
    if settings.resize == "square":
        return settings.size, settings.size
    if settings.resize == "none":
        return height, width
    return shorter_side_to(height, width, settings.size)


def _check_pixels(header: Header, settings: ImageSettings) -> None:
    found = f"{header.height} x {header.width} pixels"
    if header.height * header.width > settings.max_pixels:
        raise ImageError("too_large", f"{found}, image.max_pixels is {settings.max_pixels}")
    if header.tile_pixels > settings.max_pixels:
        raise ImageError(
            "too_large", f"{found} in tiles of {header.tile_pixels}, image.max_pixels is {settings.max_pixels}"
        )


def _check_sides(height: int, width: int, settings: ImageSettings) -> None:
    if min(height, width) < settings.min_side:
        raise ImageError("too_small", f"{height} x {width} pixels, image.min_side is {settings.min_side}")
    target = target_size(height, width, settings)
    if max(target) > LONGEST_SIDE:
        raise ImageError("too_large", f"{height} x {width} pixels would become {target[0]} x {target[1]}")


def _keeps_bytes(header: Header, settings: ImageSettings) -> bool:
    same_encoding = settings.format == header.format.lower() == "jpeg"
    same_colours = header.colours == "Gray" if settings.channels == 1 else header.colours in ("YCbCr", "RGB")
    size = (header.height, header.width)
    fits = {
        "none": True,
        "square": size == (settings.size, settings.size),
        "shorter_side": min(size) <= settings.size,
    }[settings.resize]
    return settings.keep_small and same_encoding and same_colours and fits


def _sums(pixels: Image) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sums of channels and of their products, exact: OpenCV adds squares of bytes far below 2**53.

    Products of two channels come from squares, 2ab = a² + b² - (a - b)², for which OpenCV has vector code.
    """
    planes = cv2.split(pixels)
    squares = np.array([round(cv2.norm(plane, cv2.NORM_L2SQR)) for plane in planes])
    products = np.diag(squares)
    for first, second in ((0, 1), (0, 2), (1, 2)) if len(planes) == 3 else ():
        apart = round(cv2.norm(planes[first], planes[second], cv2.NORM_L2SQR))
        products[first, second] = products[second, first] = (squares[first] + squares[second] - apart) // 2
    return np.array([round(cv2.sumElems(plane)[0]) for plane in planes]), products
