import numpy as np
import pytest

from pipelines.config import ImageSettings
from pipelines.dataset.codec import decode, encode
from pipelines.preprocess.image import Reject, Stored, process
from pipelines.preprocess.sources import pgm


def settings(**changes):
    return ImageSettings.model_validate({"format": "png", "channels": 3} | changes)


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


def test_shrinking_averages_areas():
    checkerboard = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    stored = process(pgm(checkerboard.tobytes(), 64, 64), settings(channels=1, resize="square", size=32))
    assert np.unique(decode(stored.encoded, 1)).tolist() == [128]


def test_the_sums_are_those_of_the_stored_pixels():
    stored = process(encode(picture(20, 30), "png", 90), settings(resize="none"))
    flat = picture(20, 30).reshape(-1, 3).astype(np.int64)
    assert (stored.pixel_sum == flat.sum(0)).all()
    assert (stored.product_sum == flat.T @ flat).all()


@pytest.mark.parametrize(
    ("raw", "reason"), [(b"", "empty"), (b"no image at all", "decode_error"), (b"\x89PNG\r\n\x1a\n", "decode_error")]
)
def test_an_unusable_image_is_a_reject_with_its_reason(raw, reason):
    reject = process(raw, settings())
    assert isinstance(reject, Reject)
    assert reject.reason == reason
    assert reject.detail


def test_an_image_too_long_for_jpeg_is_a_reject_before_it_is_resized():
    strip = encode(np.zeros((4, 2000, 3), np.uint8), "png", 90)
    reject = process(strip, ImageSettings())
    assert (reject.reason, reject.detail) == ("too_long", "4 x 2000 pixels would become 256 x 128000")
