import io

import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from pipelines.images.codec import DecodeError, decode, decode_region, encode
from pipelines.images.regions import Region, cut_out, read_header, restart_interval


def picture(height, width, channels=3, seed=0):
    """Smooth enough to be an image, rough enough that no two places look alike."""
    rng = np.random.default_rng(seed)
    rough = rng.integers(0, 256, (height, width, channels)).astype(float)
    rows, cols = np.mgrid[0:height, 0:width]
    smooth = np.stack([rows * 3 + cols, cols * 2, rows * cols / 50][:channels], -1) % 256
    return ((rough + 3 * smooth) / 4).astype(np.uint8)


STORED = encode(picture(64, 64), "jpeg", 90)


def part_of(pixels, region):
    top, left, height, width = region
    return pixels[top : top + height, left : left + width]


def some_regions(height, width, count=60):
    rng = np.random.default_rng(height * 1000 + width)
    for _ in range(count):
        rows, cols = (np.sort(rng.choice(side + 1, 2, replace=False)) for side in (height, width))
        yield Region(int(rows[0]), int(cols[0]), int(np.diff(rows)[0]), int(np.diff(cols)[0]))
    yield Region(0, 0, height, width)
    if min(height, width) >= 32:
        yield Region(16, 16, 16, 16)  # on the borders of MCUs
    for across in range(1, min(6, width) + 1):  # the last piece may be as narrow
        yield Region(0, width - across, height, across)
    yield Region(height - 1, width - 1, 1, 1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "size", [(256, 341), (256, 256), (97, 366), (40, 33), (300, 64), (50, 20), (33, 36), (40, 180), (1, 1), (3, 700)]
)
def test_a_region_has_the_very_pixels_that_it_has_in_the_whole_image(size, channels):
    stored = encode(picture(*size, channels), "jpeg", 90)
    whole = decode(stored, channels)
    for region in some_regions(*size):
        assert (decode_region(stored, channels, region) == part_of(whole, region)).all(), region


def test_a_cut_leaves_out_what_the_region_does_not_touch():
    stored = encode(picture(256, 352), "jpeg", 90)
    cut, within = cut_out(stored, Region(100, 200, 60, 50))
    header = read_header(cut)
    assert (header.height, header.width) == (80, 64)  # five rows of MCUs, two pieces of two MCUs
    assert within == Region(100 - 96, 200 - 192, 60, 50)
    assert len(cut) < 0.15 * len(stored)


def test_other_decoders_read_stored_images_and_cut_ones():
    stored = encode(picture(64, 96), "jpeg", 90)
    for jpeg in (stored, bytes(cut_out(stored, Region(20, 40, 20, 20))[0])):
        by_pillow = np.asarray(Pillow.open(io.BytesIO(jpeg)))
        assert (by_pillow == decode(jpeg, 3)).all()


def test_markers_cost_little():
    pixels = picture(256, 341)
    plain = io.BytesIO()
    Pillow.fromarray(pixels).save(plain, "JPEG", quality=90, subsampling="4:2:0")
    assert len(encode(pixels, "jpeg", 90)) < 1.05 * len(plain.getvalue())


def jpeg_of_others(kind):
    out = io.BytesIO()
    options = {"progressive": {"progressive": True}, "plain": {}, "444": {"subsampling": "4:4:4"}}[kind]
    Pillow.fromarray(picture(80, 90)).save(out, "JPEG", **options)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["progressive", "plain", "444"])
def test_a_jpeg_of_somebody_elses_is_decoded_whole(kind):
    stored = jpeg_of_others(kind)
    region = Region(17, 23, 40, 30)
    assert cut_out(stored, region)[0] is stored
    assert (decode_region(stored, 3, region) == part_of(decode(stored, 3), region)).all()


def test_a_list_of_pieces_that_no_longer_fits_is_not_used():
    stored = encode(picture(64, 64), "jpeg", 90)
    longer = stored[:-2] + b"\x00\x00" + stored[-2:]
    assert cut_out(longer, Region(0, 0, 8, 8))[0] is longer


@pytest.mark.parametrize("length", [0, 3, 30, 300])
def test_a_truncated_image_is_an_error(length):
    stored = encode(picture(64, 64), "jpeg", 90)[:length]
    with pytest.raises(DecodeError):
        decode_region(stored, 3, Region(0, 0, 8, 8))


@given(st.data())
def test_whatever_is_wrong_with_a_stored_image_is_a_decode_error(data):
    stored = bytearray(STORED)
    for _ in range(data.draw(st.integers(1, 4))):
        stored[data.draw(st.integers(0, 900))] = data.draw(st.integers(0, 255))
    region = Region(
        *(data.draw(st.integers(0, 70)) for _ in range(2)), *(data.draw(st.integers(1, 70)) for _ in range(2))
    )
    try:
        part = decode_region(bytes(stored[: data.draw(st.integers(2, 2 * len(stored)))]), 3, region)
    except DecodeError:
        return
    assert part.shape == (region.height, region.width, 3)


def test_a_region_outside_the_image_is_an_error_that_tells_the_images_size():
    for stored in (encode(picture(40, 50), "png", 90), encode(picture(40, 50), "jpeg", 90), jpeg_of_others("plain")):
        with pytest.raises(DecodeError, match="other than the dataset says"):
            decode_region(stored, 3, Region(30, 45, 80, 80))


def test_png_regions_are_parts_too():
    pixels = picture(40, 50)
    assert (decode_region(encode(pixels, "png", 90), 3, Region(5, 6, 20, 30)) == pixels[5:25, 6:36]).all()


@pytest.mark.parametrize(("side", "shrink"), [(100, 4), (200, 2), (201, 1)])
def test_a_region_far_larger_than_needed_is_decoded_at_a_fraction_of_its_size(side, shrink):
    pixels = picture(420, 430)
    region = Region(8, 8, 400, 400)
    part = decode_region(encode(pixels, "jpeg", 95), 3, region, at_least=(side, side))
    assert part.shape == (400 // shrink, 400 // shrink, 3)
    means = part_of(pixels, region).reshape(400 // shrink, shrink, 400 // shrink, shrink, 3).mean((1, 3))
    assert np.abs(part - means).mean() < 20


def test_at_a_fraction_of_its_size_a_region_is_where_it_was():
    rows, cols = np.mgrid[0:256, 0:256]
    stored = encode(np.stack([rows, cols, 0 * rows], -1).astype(np.uint8), "jpeg", 100)
    part = decode_region(stored, 3, Region(37, 101, 128, 90), at_least=(40, 40)).astype(int)
    assert part.shape == (64, 45, 3)
    assert np.abs(part[:, 0, 0] - (37.5 + 2 * np.arange(64))).max() <= 4
    assert np.abs(part[0, :, 1] - (101.5 + 2 * np.arange(45))).max() <= 4


def test_pieces_fill_a_row_of_mcus_and_are_few():
    assert [restart_interval(width, 16) for width in (256, 341, 384, 336, 353, 8)] == [2, 2, 2, 3, 23, 1]


def test_what_simplejpeg_decodes_is_what_we_decode():
    stored = encode(picture(50, 70), "jpeg", 90)
    assert (simplejpeg.decode_jpeg(stored) == decode(stored, 3)).all()


@given(st.data())
def test_any_region_of_any_size_can_be_decoded_at_a_fraction(data):
    height, width = data.draw(st.tuples(st.integers(1, 90), st.integers(1, 90)))
    stored = encode(picture(height, width), "jpeg", 90)
    top, left = data.draw(st.tuples(st.integers(0, height - 1), st.integers(0, width - 1)))
    region = Region(top, left, data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left)))
    shrink = data.draw(st.sampled_from([1, 2, 4, 8]))
    at_least = max(1, region.height // shrink), max(1, region.width // shrink)
    part = decode_region(stored, 3, region, at_least)
    assert part.shape[0] >= at_least[0]
    assert part.shape[1] >= at_least[1]


def test_a_sampling_without_a_name_is_a_decode_error_at_a_fraction_too():
    odd = jpeg_of_others("444").replace(b"\x03\x01\x11", b"\x03\x01\x14")
    with pytest.raises(DecodeError):
        decode_region(odd, 3, Region(0, 0, 80, 80), at_least=(20, 20))
