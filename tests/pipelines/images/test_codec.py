import numpy as np
import pytest

from pipelines.images.codec import DecodeError, decode, encode


def picture(channels):
    rows, cols = np.mgrid[0:40, 0:60]
    return np.stack([rows * 6, cols * 4, (rows + cols) * 2][:channels], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_png_gives_back_the_same_pixels(channels):
    assert (decode(encode(picture(channels), "png", 90), channels) == picture(channels)).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_gives_back_nearly_the_same_pixels_in_the_same_channel_order(channels):
    decoded = decode(encode(picture(channels), "jpeg", 95), channels)
    assert decoded.shape == picture(channels).shape
    assert np.abs(decoded.astype(int) - picture(channels)).mean() < 2


def test_grey_can_be_read_as_rgb_and_rgb_as_grey():
    assert decode(encode(picture(1), "png", 90), 3).shape == (40, 60, 3)
    assert decode(encode(picture(3), "png", 90), 1).shape == (40, 60, 1)


@pytest.mark.parametrize("damage", [lambda b: b"not an image", lambda b: b[:20], lambda b: b""])
def test_bytes_that_are_no_image_are_an_error(damage):
    with pytest.raises(DecodeError):
        decode(damage(encode(picture(3), "png", 90)), 3)
