"""Any image file to pixels, or the reason why not. The header is read first; a decoder sees only what passed it.

JPEG goes through libjpeg-turbo (simplejpeg), everything else, CMYK JPEG included, through Pillow, restricted to the
formats below: no PostScript, no plugins.
"""

import io
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import numpy as np
import simplejpeg
from PIL import Image as Pillow
from PIL import TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin  # noqa: F401 - Pillow knows them once imported

from pipelines.images.codec import Image
from pipelines.images.tiff import tile_pixels

FormatReason = Literal[
    "empty", "truncated", "not_an_image", "unsupported", "too_small", "too_large", "decode_error",
]  # fmt: skip

READ_BY_PILLOW = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")

_KNOWN_TO_OTHERS = {
    b"%PDF": "PDF", b"%!PS": "PostScript", b"8BPS": "Photoshop", b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000", b"\xff\x0a": "JPEG XL", b"\0\0\0\x0cJXL ": "JPEG XL", b"<svg": "SVG",
    b"\0\0\1\0": "Windows icon", b"\x76\x2f\x31\x01": "OpenEXR", b"SIMPLE": "FITS", b"DDS ": "DirectDraw",
}  # fmt: skip
_ISO_MEDIA = {b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF", b"avif": "AVIF", b"avis": "AVIF"}
_ORIENTATION_TAG = 0x0112
_END_OF_IMAGE = b"\xff\xd9"
_HARMLESS_REMARKS = ("extraneous bytes", "Unknown Adobe color transform")
"""Of libjpeg, on files whose pixels are all there."""


class ImageError(ValueError):
    """Bytes that give no image; `reason` from a closed set, the detail for people."""

    def __init__(self, reason: FormatReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True)
class Header:
    """What an image file says of itself before its pixels."""

    format: str
    """`JPEG`, or Pillow's name of another format."""
    colours: str
    """`RGB`, `Gray`, `CMYK`, … as the decoder names them."""
    height: int
    width: int
    tile_pixels: int = 0
    """Of a TIFF in tiles: each is decoded whole, and it may be larger than the image."""


def read_header(raw: bytes) -> Header:
    """Format, colours and size. Decodes nothing. Raises ImageError."""
    if not raw:
        raise ImageError("empty", "0 bytes")
    if raw.startswith(b"\xff\xd8\xff"):
        return _jpeg_header(raw)
    with _opened(raw) as image:
        height, width = image.height, image.width
        if _turned_by_pillow(image) >= 5:
            height, width = width, height
        return Header(str(image.format), image.mode, height, width, _tile_pixels(image, raw))


def orientation_of(raw: bytes) -> int:
    """EXIF orientation, 1 to 8; 1, upright, where there is none or the EXIF block is broken."""
    try:
        with _opened(raw) as image:
            return _orientation(image)
    except ImageError:  # read_header says what is wrong with it
        return 1


def _orientation(image: Pillow.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # a broken EXIF block fails in many ways, and none of them says anything of the pixels
        return 1
    return value if value in range(1, 9) else 1


def turned(pixels: Image, orientation: int) -> Image:
    """`pixels` as the camera was held; orientation as EXIF numbers it."""
    match orientation:
        case 2:
            return pixels[:, ::-1]
        case 3:
            return pixels[::-1, ::-1]
        case 4:
            return pixels[::-1]
        case 5:
            return pixels.transpose(1, 0, 2)
        case 6:
            return pixels.transpose(1, 0, 2)[:, ::-1]
        case 7:
            return pixels[::-1, ::-1].transpose(1, 0, 2)
        case 8:
            return pixels.transpose(1, 0, 2)[::-1]
        case _:
            return pixels


def read_pixels(raw: bytes, header: Header, channels: int, at_least: tuple[int, int] = (0, 0)) -> Image:
    """(H, W, channels) of an image with that header. Raises ImageError.

    at_least: (height, width) that suffice; a JPEG of twice that or more is decoded at the smallest scale, of 1/2 down
    to 1/8, that still covers them. Scales between 1/2 and 1 cost libjpeg-turbo more than they save.
    """
    if header.format == "JPEG" and header.colours in ("YCbCr", "RGB", "Gray"):
        return _decode_jpeg(raw, channels, at_least)
    with _opened(raw) as image:
        back = {6: 8, 8: 6}.get(orientation := _turned_by_pillow(image), orientation)
        return turned(_decode_by_pillow(image, channels), back)


# --- JPEG ---------------------------------------------------------------------------------------


def _jpeg_header(raw: bytes) -> Header:
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(raw, strict=False)
    except (ValueError, KeyError) as error:  # simplejpeg looks up a subsampling that is not there, or that it lacks
        unusual = isinstance(error, KeyError) or "subsampling" in str(error)
        if unusual and _has_its_end(raw):
            with _opened(raw) as image:
                return Header("JPEG", f"{image.mode}, unusual sampling", image.height, image.width)
        raise _jpeg_error(raw, str(error)) from None
    return Header("JPEG", colours, height, width)


def _has_its_end(raw: bytes) -> bool:
    return raw.rstrip(b"\0").endswith(_END_OF_IMAGE)


def _jpeg_error(raw: bytes, message: str) -> ImageError:
    lowered = message.lower()
    if "premature end" in lowered or not _has_its_end(raw):
        return ImageError("truncated", f"the JPEG ends early, after {len(raw)} bytes ({message})")
    return ImageError("unsupported" if "unsupported" in lowered else "decode_error", message)


def _decode_jpeg(raw: bytes, channels: int, at_least: tuple[int, int]) -> Image:
    def attempt(content: bytes) -> Image:
        height, width = at_least
        colours, factor = "GRAY" if channels == 1 else "RGB", 2 if height else 1
        return np.asarray(simplejpeg.decode_jpeg(content, colours, False, False, height, width, factor), np.uint8)

    try:
        return attempt(raw)
    except ValueError as error:
        message = str(error)
    if "premature end" in message.lower():
        with suppress(ValueError):
            return attempt(raw + _END_OF_IMAGE)  # only the end marker is missing
    if any(remark in message for remark in _HARMLESS_REMARKS):
        with _opened(raw) as image:
            return _decode_by_pillow(image, channels)
    raise _jpeg_error(raw, message)


# --- everything else ----------------------------------------------------------------------------


def _opened(raw: bytes) -> Pillow.Image:
    try:
        return Pillow.open(io.BytesIO(raw), formats=READ_BY_PILLOW)
    except UnidentifiedImageError:
        raise _unidentified(raw) from None
    except Exception as error:  # a hostile header fails in ways that Pillow does not list
        raise _pillow_error(error) from None


def _turned_by_pillow(image: Pillow.Image) -> int:
    """The orientation by which Pillow turns pixels as it loads them, unasked: TIFF's."""
    return _orientation(image) if image.format == "TIFF" else 1


def _tile_pixels(image: Pillow.Image, raw: bytes) -> int:
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return 0
    try:
        return tile_pixels(raw, image.tag_v2.offset)
    except ValueError as error:
        raise _pillow_error(error) from None


def _pillow_error(error: Exception) -> ImageError:
    message = f"{type(error).__name__}: {error}"
    return ImageError("truncated" if "truncated" in message.lower() else "decode_error", message)


def _unidentified(raw: bytes) -> ImageError:
    known = _ISO_MEDIA.get(raw[8:12]) if raw[4:8] == b"ftyp" else None
    known = known or next((name for magic, name in _KNOWN_TO_OTHERS.items() if raw.startswith(magic)), None)
    if known:
        return ImageError("unsupported", f"{known}; convert it to PNG or JPEG")
    ours = (b"\x89PNG\r\n\x1a\n", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")
    if raw.startswith(ours):
        return ImageError("truncated" if len(raw) < 64 else "decode_error", f"its header is damaged ({len(raw)} bytes)")
    return ImageError("not_an_image", f"begins with {raw[:8]!r}")


def _decode_by_pillow(image: Pillow.Image, channels: int) -> Image:
    try:
        image.load()
        flat = _eight_bits(image)
        if flat.has_transparency_data:
            flat = flat.convert("RGBA")
            flat = Pillow.alpha_composite(Pillow.new("RGBA", flat.size, "white"), flat)
        pixels = np.asarray(flat.convert("L" if channels == 1 else "RGB"), np.uint8)
    except ImageError:
        raise
    except Exception as error:  # as above: what fails here is the image, and its reason is kept
        raise _pillow_error(error) from None
    return pixels.reshape(*pixels.shape[:2], channels)


def _eight_bits(image: Pillow.Image) -> Pillow.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return Pillow.fromarray(((np.asarray(image, np.int64) * 255 + 32767) // 65535).astype(np.uint8))
    if image.mode in ("I", "F", "LAB", "HSV"):
        raise ImageError("unsupported", f"{image.format} of mode {image.mode}; convert it to 8-bit RGB")
    return image


Pillow.MAX_IMAGE_PIXELS = None  # callers hold the header to image.max_pixels; Pillow's own limit warns first
