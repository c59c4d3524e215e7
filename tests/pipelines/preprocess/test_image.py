import io
from typing import get_args

import numpy as np
import pytest
from PIL.Image import Exif as PillowExif
from PIL.Image import fromarray

from pipelines.config import ImageSettings
from pipelines.images.codec import decode, encode
from pipelines.images.formats import FormatReason
from pipelines.images.transforms import resize
from pipelines.preprocess.image import Reject, Stored, as_stored, process


def settings(**changes):
    return ImageSettings.model_validate({"format": "png", "channels": 3} | changes)


def damaged(png):
    """With one wrong byte in its pixels."""
    place = png.index(b"IDAT") + 60
    return png[:place] + bytes([png[place] ^ 0xFF]) + png[place + 1 :]


def picture(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("resize", "size", "expected"),
    [
        ("none", 256, (60, 90)),
        ("shorter_side", 30, (30, 45)),
        ("shorter_side", 120, (120, 180)),
        ("shorter_side", 60, (60, 90)),
        ("square", 32, (32, 32)),
    ],
)
def test_an_image_comes_out_in_the_size_asked_for(resize, size, expected):
    stored = process(encode(picture(60, 90), "png", 90), settings(resize=resize, size=size))
    assert isinstance(stored, Stored)
    assert (stored.height, stored.width) == expected
    assert decode(stored.encoded, 3).shape == (*expected, 3)


def test_pixels_that_need_no_resize_stay_what_they_are():
    stored = process(encode(picture(40, 40), "png", 90), settings(resize="square", size=40))
    assert (decode(stored.encoded, 3) == picture(40, 40)).all()


def test_the_sums_are_those_of_the_stored_pixels():
    stored = process(encode(picture(20, 30), "png", 90), settings(resize="none"))
    flat = picture(20, 30).reshape(-1, 3).astype(np.int64)
    assert (stored.pixel_sum == flat.sum(0)).all()
    assert (stored.product_sum == flat.T @ flat).all()


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "empty"),
        (b"no image at all", "not_an_image"),
        (b"%PDF-1.4", "unsupported"),
        (b"\x89PNG\r\n\x1a\n", "truncated"),
        (encode(picture(7, 90), "png", 90), "too_small"),
        (encode(picture(200, 200), "png", 90), "too_large"),
        (damaged(encode(picture(60, 90), "png", 90)), "decode_error"),
    ],
)
def test_an_unusable_image_is_a_reject_with_its_reason(raw, reason):
    reject = process(raw, settings(max_pixels=20_000))
    assert isinstance(reject, Reject)
    assert reject.reason == reason
    assert reject.detail


def test_every_reason_of_an_image_is_tested_here_or_with_the_formats():
    assert set(get_args(FormatReason)) == {
        "empty", "not_an_image", "unsupported", "truncated", "too_small", "too_large", "decode_error",
    }  # fmt: skip


def test_an_image_too_long_for_jpeg_is_a_reject_before_it_is_resized():
    strip = encode(np.zeros((4, 2000, 3), np.uint8), "png", 90)
    reject = process(strip, ImageSettings(min_side=1))
    assert (reject.reason, reject.detail) == ("too_large", "4 x 2000 pixels would become 256 x 128000")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(8, 8), (33, 70), (301, 257)])
def test_the_sums_are_exact_for_every_size(channels, shape):
    rng = np.random.default_rng(shape[0])
    pixels = rng.integers(0, 256, (*shape, channels), np.uint8) // rng.integers(1, 4)
    stored = process(encode(pixels, "png", 90), settings(resize="none", channels=channels))
    flat = pixels.reshape(-1, channels).astype(np.int64)
    assert stored.pixel_sum.tolist() == flat.sum(0).tolist()
    assert stored.product_sum.tolist() == (flat.T @ flat).tolist()


def test_a_large_jpeg_comes_out_as_if_it_had_been_decoded_whole():
    rows, cols = np.mgrid[0:600, 0:900]
    smooth = np.stack([rows * 0.4, cols * 0.25, 255 - rows * 0.2 - cols * 0.1], -1).astype(np.uint8)
    jpeg = encode(smooth, "jpeg", 95)
    stored = process(jpeg, settings(size=128))
    whole = resize(decode(jpeg, 3), 128, 192).astype(int)
    assert np.abs(decode(stored.encoded, 3) - whole).max() <= 3


# --- images that keep their own bytes -------------------------------------------------------------


@pytest.mark.parametrize(
    ("resize_to", "size", "keeps"),
    [
        ("shorter_side", 60, True), ("shorter_side", 100, True), ("shorter_side", 59, False),
        ("square", 60, False), ("none", 10, True),
    ],
)  # fmt: skip
def test_a_jpeg_within_the_target_keeps_its_bytes_when_asked(resize_to, size, keeps):
    jpeg = encode(picture(60, 90), "jpeg", 75)
    asked = settings(format="jpeg", resize=resize_to, size=size, keep_small=True)
    stored = process(jpeg, asked)
    assert (stored.encoded == jpeg) == keeps
    assert process(jpeg, asked.model_copy(update={"keep_small": False})).encoded != jpeg
    if keeps:
        assert (stored.height, stored.width) == (60, 90)
        assert (stored.pixel_sum == decode(jpeg, 3).sum((0, 1), dtype=int)).all()


def test_bytes_are_not_kept_where_the_dataset_needs_others():
    png, jpeg = encode(picture(60, 90), "png", 90), encode(picture(60, 90), "jpeg", 75)
    grey = encode(picture(60, 90)[:, :, :1], "jpeg", 75)
    keep = {"resize": "none", "keep_small": True}
    assert process(png, settings(format="jpeg", **keep)).encoded != png
    assert process(jpeg, settings(format="png", **keep)).encoded != jpeg
    assert process(grey, settings(format="jpeg", **keep)).encoded != grey
    assert process(grey, settings(format="jpeg", channels=1, **keep)).encoded == grey


def test_a_truncated_jpeg_is_rejected_though_its_bytes_would_be_kept():
    jpeg = encode(picture(60, 90), "jpeg", 75)
    asked = settings(format="jpeg", resize="none", keep_small=True)
    assert process(jpeg[: len(jpeg) // 2], asked).reason == "truncated"


# --- orientation --------------------------------------------------------------------------------


def on_its_side():
    exif = PillowExif()
    exif[0x0112] = 6
    file = io.BytesIO()
    fromarray(picture(60, 90)).save(file, "JPEG", quality=95, exif=exif)
    return file.getvalue()


def test_exif_orientation_is_ignored_unless_it_is_to_be_applied():
    ignored = process(on_its_side(), settings(size=30))
    applied = process(on_its_side(), settings(size=30, orientation="apply"))
    assert (ignored.height, ignored.width) == (30, 45)
    assert (applied.height, applied.width, applied.source_height, applied.source_width) == (45, 30, 90, 60)
    turned = decode(ignored.encoded, 3).transpose(1, 0, 2)[:, ::-1]
    assert np.abs(decode(applied.encoded, 3).astype(int) - turned).mean() < 3


def test_an_image_to_be_turned_does_not_keep_its_bytes():
    asked = settings(format="jpeg", resize="none", keep_small=True, orientation="apply")
    assert process(on_its_side(), asked).encoded != on_its_side()


def test_bytes_that_the_loader_would_refuse_are_encoded_anew():
    jpeg = encode(picture(60, 90), "jpeg", 75)
    asked = settings(format="jpeg", resize="none", keep_small=True)
    stored = process(jpeg[:-2], asked)  # without its end marker
    assert stored.encoded != jpeg[:-2]
    assert np.abs(decode(stored.encoded, 3).astype(int) - decode(jpeg, 3)).mean() < 9


@pytest.mark.parametrize(
    "changes", [{}, {"format": "jpeg"}, {"format": "jpeg", "keep_small": True}, {"channels": 1}, {"resize": "none"}]
)
@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_pixels_as_they_would_be_stored_are_those_that_decoding_gives_of_what_is_stored(changes, kind):
    asked, raw = settings(size=30, **changes), encode(picture(40, 28), kind, 90)
    stored, pixels = process(raw, asked), as_stored(raw, asked)
    assert isinstance(stored, Stored)
    assert not isinstance(pixels, Reject)
    np.testing.assert_array_equal(pixels, decode(stored.encoded, asked.channels))


def test_what_cannot_be_stored_has_no_pixels_for_the_same_reason():
    assert as_stored(b"no image", settings()) == process(b"no image", settings())
