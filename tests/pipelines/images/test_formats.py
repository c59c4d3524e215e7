import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from pipelines.config import ImageSettings
from pipelines.images.formats import ImageError, orientation_of, read_header, read_pixels, turned
from pipelines.images.tiff import tile_pixels
from pipelines.preprocess.image import Stored, process
from tests.hostile import answers_and_growth

HEIGHT, WIDTH = 48, 80


def picture():
    """Smooth, so that lossy formats keep it; all colours differ."""
    rows, cols = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([rows * 5, cols * 3, 255 - rows * 2 - cols], axis=-1).astype(np.uint8)


def saved(image, format, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def rgb():
    return Pillow.fromarray(picture())


def cmyk():
    """Ink for `picture()` by the textbook: C = 1 - R / (1 - K) and so on, with K the lightest colour's lack."""
    colours = picture() / 255
    black = 1 - colours.max(-1, keepdims=True)
    inks = 1 - colours / np.maximum(1 - black, 1e-9)
    return Pillow.fromarray(np.rint(np.concatenate([inks, black], -1) * 255).astype(np.uint8), "CMYK")


def tiff_16_bit():
    done, encoded = cv2.imencode(".tif", cv2.cvtColor(picture().astype(np.uint16) * 257, cv2.COLOR_RGB2BGR))
    assert done
    return encoded.tobytes()


def png_16_bit(channels):
    pixels = picture().astype(np.uint16) * 257
    pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if channels == 3 else pixels[:, :, 0]
    return cv2.imencode(".png", pixels)[1].tobytes()


def read(raw, channels=3, at_least=(0, 0)):
    return read_pixels(raw, read_header(raw), channels, at_least)


def far(pixels, expected):
    return np.abs(pixels.astype(int) - expected).mean()


def grey_expected():
    return np.repeat(picture()[:, :, :1], 3, axis=2)


LOSSLESS = {
    "PNG": saved(rgb(), "PNG"),
    "BMP": saved(rgb(), "BMP"),
    "TIFF": saved(rgb(), "TIFF"),
    "TIFF with LZW": saved(rgb(), "TIFF", compression="tiff_lzw"),
    "PPM": saved(rgb(), "PPM"),
    "lossless WebP": saved(rgb(), "WEBP", lossless=True),
    "PNG with alpha, opaque": saved(rgb().convert("RGBA"), "PNG"),
    "PNG of 16 bits": png_16_bit(3),
    "TIFF of 16 bits": tiff_16_bit(),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_a_lossless_format_gives_the_very_pixels(name):
    assert (read(LOSSLESS[name]) == picture()).all()


LOSSY = {
    "JPEG": saved(rgb(), "JPEG", quality=95),
    "progressive JPEG": saved(rgb(), "JPEG", quality=95, progressive=True),
    "JPEG in full colour": saved(rgb(), "JPEG", quality=95, subsampling=0),
    "JPEG kept as RGB": saved(rgb(), "JPEG", quality=95, keep_rgb=True),
    "WebP": saved(rgb(), "WEBP", quality=95),
    "palette PNG": saved(rgb().quantize(256), "PNG"),
    "GIF": saved(rgb().quantize(256), "GIF"),
}


@pytest.mark.parametrize("name", LOSSY)
def test_a_lossy_format_gives_nearly_the_same_pixels(name):
    assert far(read(LOSSY[name]), picture()) < 6


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("grey JPEG", saved(Pillow.fromarray(picture()[:, :, 0]), "JPEG", quality=97)),
        ("grey PNG", saved(Pillow.fromarray(picture()[:, :, 0]), "PNG")),
        ("grey PNG of 16 bits", png_16_bit(1)),
        ("grey with alpha", saved(Pillow.fromarray(picture()[:, :, 0]).convert("LA"), "PNG")),
    ],
)
def test_grey_becomes_three_equal_channels_or_stays_one(name, raw):
    colours = read(raw)
    assert colours.shape == (HEIGHT, WIDTH, 3)
    assert (colours[:, :, 0] == colours[:, :, 1]).all()
    assert (colours[:, :, 0] == colours[:, :, 2]).all()
    assert far(colours, grey_expected()) < 2
    assert read(raw, 1).shape == (HEIGHT, WIDTH, 1)
    assert far(read(raw, 1), picture()[:, :, :1]) < 2


def test_colours_become_grey_by_luminance():
    expected = picture() @ [0.299, 0.587, 0.114]
    for name in ("PNG", "BMP"):
        assert far(read(LOSSLESS[name], 1)[:, :, 0], expected) < 1
    assert far(read(LOSSY["JPEG"], 1)[:, :, 0], expected) < 2


def test_one_bit_pixels_become_black_and_white():
    raw = saved(Pillow.fromarray(picture()[:, :, 0] > 100), "PNG")
    assert (read(raw)[:, :, 0] == np.where(picture()[:, :, 0] > 100, 255, 0)).all()


def with_adobe_transform(raw, transform):
    """The JPEG with another colour transform in its Adobe marker: 0 is CMYK, 2 YCCK."""
    place = raw.index(b"Adobe") + 11
    return raw[:place] + bytes([transform]) + raw[place + 1 :]


def test_cmyk_jpeg_becomes_the_colours_that_its_inks_print():
    raw = saved(cmyk(), "JPEG", quality=97, subsampling=0)
    assert read_header(raw).colours == "CMYK"
    assert far(read(raw), picture()) < 3


def test_ycck_jpeg_becomes_the_colours_that_opencv_finds_too():
    # The same file, its inks declared to be YCCK. What comes out is odd but defined; OpenCV has its own conversion.
    raw = with_adobe_transform(saved(cmyk(), "JPEG", quality=97, subsampling=0), 2)
    assert read_header(raw).colours == "YCCK"
    by_opencv = cv2.cvtColor(cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    assert far(read(raw), by_opencv) < 2
    assert far(read(raw), read(with_adobe_transform(raw, 0))) > 10


def test_transparency_is_laid_on_white():
    pixels = np.dstack([picture(), np.full((HEIGHT, WIDTH), 255, np.uint8)])
    pixels[:10, :, 3] = 0
    pixels[10:20, :, 3] = 128
    found = read(saved(Pillow.fromarray(pixels, "RGBA"), "PNG"))
    assert (found[:10] == 255).all()
    assert (np.abs(found[10:20].astype(int) - (picture()[10:20] * (128 / 255) + 255 * (127 / 255))) <= 1).all()
    assert (found[20:] == picture()[20:]).all()


def test_a_transparent_palette_colour_is_laid_on_white():
    paletted = Pillow.fromarray(np.eye(8, dtype=np.uint8), "P")
    paletted.putpalette([10, 20, 30, 200, 100, 50])
    found = read(saved(paletted, "PNG", transparency=0))
    assert (found[np.eye(8) == 1] == [200, 100, 50]).all()
    assert (found[np.eye(8) == 0] == 255).all()


def test_a_png_named_jpeg_is_read_by_its_content():
    assert read_header(LOSSLESS["PNG"]).format == "PNG"  # no name is ever asked for


def test_a_large_jpeg_is_decoded_at_a_smaller_scale_that_still_covers_what_is_needed():
    raw = saved(rgb().resize((800, 480)), "JPEG", quality=95)
    assert read(raw, at_least=(100, 100)).shape == (120, 200, 3)
    assert read(raw, at_least=(181, 100)).shape == (240, 400, 3)
    assert read(raw, at_least=(480, 800)).shape == (480, 800, 3)
    small = cv2.resize(picture(), (200, 120), interpolation=cv2.INTER_LINEAR)
    assert far(read(raw, at_least=(100, 100)), small) < 4


# --- EXIF ---------------------------------------------------------------------------------------


def with_orientation(number):
    exif = Pillow.Exif()
    exif[0x0112] = number
    return saved(rgb(), "JPEG", quality=95, subsampling=0, exif=exif)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_turns_pixels_as_pillow_does(orientation):
    from PIL import ImageOps

    raw = with_orientation(orientation)
    assert orientation_of(raw) == orientation
    expected = np.asarray(ImageOps.exif_transpose(Pillow.open(io.BytesIO(raw))))
    assert turned(read(raw), orientation).shape == expected.shape
    assert far(turned(read(raw), orientation), expected) < 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiff_is_read_as_it_is_stored_though_pillow_turns_it(orientation):
    raw = saved(rgb(), "TIFF", tiffinfo={0x0112: orientation})
    header = read_header(raw)
    assert (header.height, header.width) == (HEIGHT, WIDTH)
    assert (read(raw) == picture()).all()
    assert orientation_of(raw) == orientation


def test_broken_exif_leaves_good_pixels():
    raw = with_orientation(6)
    place = raw.index(b"Exif\0\0") + 6
    broken = raw[:place] + b"\xff" * 12 + raw[place + 12 :]
    assert orientation_of(broken) == 1
    assert (read(broken) == read(raw)).all()


def test_an_orientation_that_is_none_counts_as_upright():
    assert orientation_of(with_orientation(77)) == 1
    assert orientation_of(LOSSLESS["BMP"]) == 1


# --- what cannot be read ------------------------------------------------------------------------


def reason(raw, channels=3):
    with pytest.raises(ImageError) as caught:
        read(raw, channels)
    assert str(caught.value)
    return caught.value.reason


def test_nothing_is_empty():
    assert reason(b"") == "empty"


@pytest.mark.parametrize("raw", [b"no image at all", b"<html></html>", b"\0" * 100, b"PK\3\4" + b"\0" * 40])
def test_other_files_are_no_images(raw):
    assert reason(raw) == "not_an_image"


@pytest.mark.parametrize(
    "raw",
    [
        b"%PDF-1.7 and more", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"8BPS\0\1" + b"\0" * 40,
        b"\0\0\0\x18ftypheic" + b"\0" * 40, b"\0\0\0\x18ftypavif" + b"\0" * 40, b"<svg xmlns=''/>",
        b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0" * 40,
    ],
)  # fmt: skip
def test_an_image_format_that_is_not_read_is_unsupported(raw):
    assert reason(raw) == "unsupported"


def test_pixels_of_32_bits_are_unsupported():
    assert reason(saved(Pillow.fromarray(picture()[:, :, 0].astype(np.float32)), "TIFF")) == "unsupported"


@pytest.mark.parametrize("name", ["JPEG", "progressive JPEG", "JPEG kept as RGB"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_jpeg_that_ends_early_is_truncated(name, share):
    raw = LOSSY[name]
    assert reason(raw[: int(len(raw) * share)]) == "truncated"


@pytest.mark.parametrize("name", ["PNG", "BMP", "TIFF", "PPM"])
def test_another_format_that_ends_early_is_truncated(name):
    assert reason(LOSSLESS[name][: len(LOSSLESS[name]) // 2]) == "truncated"


@pytest.mark.parametrize("raw", [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", LOSSY["JPEG"][:100], LOSSLESS["PNG"][:20]])
def test_a_header_that_ends_early_is_truncated(raw):
    assert reason(raw) == "truncated"


def test_cmyk_that_ends_early_is_truncated():
    raw = saved(cmyk(), "JPEG")
    assert reason(raw[: len(raw) // 2]) == "truncated"


def test_a_jpeg_that_lacks_only_its_end_marker_is_read():
    raw = saved(rgb(), "JPEG", quality=95)
    assert raw.endswith(b"\xff\xd9")
    assert (read(raw[:-2]) == read(raw)).all()


def test_a_jpeg_with_rubbish_behind_its_end_is_read():
    raw = saved(rgb(), "JPEG", quality=95)
    assert (read(raw + b"rubbish" * 9) == read(raw)).all()


def test_a_jpeg_with_extraneous_bytes_between_its_segments_is_read():
    raw = saved(rgb(), "JPEG", quality=95)
    scan = raw.index(b"\xff\xda")
    assert (read(raw[:scan] + b"\0\0\0\0" + raw[scan:]) == read(raw)).all()


def test_a_jpeg_of_unusual_sampling_is_left_to_pillow_or_rejected_in_words():
    raw = bytearray(LOSSY["JPEG in full colour"])
    raw[raw.index(b"\xff\xc0") + 11] = 0x14  # luminance one by four, which simplejpeg has no name for
    assert read_header(bytes(raw)).colours == "RGB, unusual sampling"
    try:
        assert read(bytes(raw)).shape == (HEIGHT, WIDTH, 3)
    except ImageError as error:  # the scan was not written for it
        assert error.reason in ("truncated", "decode_error")  # noqa: PT017


def test_a_png_with_a_wrong_checksum_is_a_decode_error_or_read_never_a_crash():
    raw = bytearray(LOSSLESS["PNG"])
    raw[raw.index(b"IDAT") + 30] ^= 0xFF
    assert reason(bytes(raw)) in ("decode_error", "truncated")


def jpeg_that_claims(height, width):
    raw = bytearray(saved(rgb(), "JPEG"))
    place = raw.index(b"\xff\xc0") + 5
    raw[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(raw)


def png_that_claims(height, width):
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = struct.pack(">I", 900) + b"IDAT" + zlib.compress(bytes(1 << 20))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + pixels


@pytest.mark.parametrize("bomb", [jpeg_that_claims, png_that_claims])
def test_headers_of_huge_images_are_read_for_what_they_say(bomb):
    header = read_header(bomb(50_000, 40_000))
    assert (header.height, header.width) == (50_000, 40_000)


def others_that_claim(height, width):
    """Headers of other formats, and of one whose text unpacks to 256 MiB."""
    text = b"zTXt" + b"note\0\0" + zlib.compress(bytes(256 << 20))
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    png = saved(rgb(), "PNG")
    return [
        b"GIF89a"
        + struct.pack("<HHBBB", width, height, 0, 0, 0)
        + b","
        + struct.pack("<HHHHB", 0, 0, width, height, 0)
        + b"\x08",
        b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0),
        b"P6 %d %d 255\n" % (width, height),
        png[:33] + chunk + png[33:],
    ]


def valid_png(height, width):
    """Of one bit a pixel, all of them there."""
    packer, row = zlib.compressobj(9), bytes(1 + -(-width // 8))
    pixels = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


LONG, SLONG8, DEFLATED = 4, 17, 8
SIDE = 16_384


def valid_tiff(layout, start=b"II*\0", side=SIDE):
    """64 x 64 pixels, at the top left of side x side grey ones that are all there; `layout` are the tags that tell."""
    packer, rows = zlib.compressobj(9), bytes(64 * side)
    pixels = b"".join(packer.compress(rows) for _ in range(side // 64)) + packer.flush()
    order, place = "<" if start.startswith(b"II") else ">", 16
    known = [(256, LONG, 64), (257, LONG, 64), (258, LONG, 8), (259, LONG, DEFLATED), (262, LONG, 1), (277, LONG, 1)]
    known += [(tag, kind, {"place": place, "size": len(pixels)}.get(value, value)) for tag, kind, value in layout]
    is_big = start[2] == 0x2B
    entry, counted, offset = ("HHQQ", "Q", "HHQ") if is_big else ("HHII", "H", "I")
    at = place + len(pixels)
    head = start + (struct.pack(order + offset, 8, 0, at) if is_big else struct.pack(order + offset, at))
    directory = b"".join(struct.pack(order + entry, tag, kind, 1, value) for tag, kind, value in known)
    return head.ljust(place, b"\0") + pixels + struct.pack(order + counted, len(known)) + directory + bytes(8)


TILE = [(324, LONG, "place"), (325, LONG, "size")]
WIDE, HIGH = (322, LONG, SIDE), (323, LONG, SIDE)
TILED = {
    "plainly": valid_tiff([WIDE, HIGH, *TILE]),
    "big": valid_tiff([WIDE, HIGH, *TILE], b"II\x2b\0"),
    "twice": valid_tiff([WIDE, (322, LONG, 64), HIGH, (323, LONG, 64), *TILE]),
    "unusual type": valid_tiff([(322, SLONG8, SIDE), (323, SLONG8, SIDE), *TILE], b"II\x2b\0"),
}


@pytest.mark.attack
@pytest.mark.parametrize("name", TILED)
def test_a_tiff_of_tiles_larger_than_an_image_may_be_costs_no_memory(name):
    prepare = "from pipelines.config import ImageSettings\nfrom pipelines.preprocess.image import process\n"
    answers, grown_kib = answers_and_growth(
        prepare,
        "getattr(process(bytes.fromhex(line), ImageSettings(max_pixels=10_000_000)), 'reason', 'stored')",
        [TILED[name]],
    )
    assert grown_kib < 50_000
    assert answers in (["too_large"], ["decode_error"])


@pytest.mark.attack
@pytest.mark.parametrize("rows", [64, SIDE, 0xFFFFFFFF])
def test_a_strip_is_decoded_as_far_as_the_image_goes(rows):
    strip = valid_tiff([(273, LONG, "place"), (278, LONG, rows), (279, LONG, "size")])
    answers, grown_kib = answers_and_growth(
        "from pipelines.images.formats import read_header, read_pixels\n",
        "str(read_pixels(bytes.fromhex(line), read_header(bytes.fromhex(line)), 1).shape)",
        [strip],
    )
    assert answers == ["(64, 64, 1)"]
    assert grown_kib < 50_000


@pytest.mark.parametrize("start", [b"II*\0", b"MM\0*", b"II\x2b\0"])
def test_a_tiff_in_tiles_of_no_more_pixels_than_an_image_may_have_is_read(start):
    raw = valid_tiff([(322, LONG, 256), (323, LONG, 256), *TILE], start, side=256)
    assert read_header(raw).tile_pixels == 256 * 256
    assert isinstance(process(raw, ImageSettings(max_pixels=256 * 256)), Stored)
    assert process(raw, ImageSettings(max_pixels=256 * 256 - 1)).reason == "too_large"


@pytest.mark.attack
def test_a_directory_that_pillow_reads_in_another_place_than_libtiff_is_refused():
    with pytest.raises(ValueError, match="a BigTIFF of big-endian byte order"):
        tile_pixels(b"MM\0\x2b\0\x08\0\0" + bytes(100), 0x80000)


@pytest.mark.attack
@pytest.mark.parametrize("orientation", ["ignore", "apply"])
def test_a_bomb_costs_no_memory(orientation):
    bombs = [jpeg_that_claims(50_000, 50_000), png_that_claims(50_000, 50_000), png_that_claims(12_000, 12_000)]
    bombs += [valid_png(16_000, 16_000)]
    bombs += others_that_claim(50_000, 50_000)
    prepare = "from pipelines.config import ImageSettings\nfrom pipelines.preprocess.image import process\n"
    rejected = f"process(bytes.fromhex(line), ImageSettings(orientation={orientation!r})).reason"
    reasons, grown_kib = answers_and_growth(prepare, rejected, bombs)
    assert reasons == ["too_large"] * 7 + ["decode_error"]
    assert grown_kib < 100_000  # Pillow stops at 64 MiB of text
