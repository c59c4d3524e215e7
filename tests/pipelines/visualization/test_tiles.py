import numpy as np
import torch

from pipelines.visualization.tiles import around_grey, as_stored, crop, gap_of, magnified, nearly_square, sheet


def test_signed_values_lie_around_mid_grey():
    pixels = around_grey(torch.tensor([[[-2.0, 0.0, 1.0]]]))
    np.testing.assert_allclose(pixels[0], [[0.0] * 3, [0.5] * 3, [0.75] * 3])


def test_nothing_is_mid_grey():
    assert (around_grey(torch.zeros(3, 2, 2)) == 0.5).all()


def test_stored_pixels_lie_between_0_and_1():
    np.testing.assert_allclose(as_stored(torch.tensor([[[0, 51, 255]]], dtype=torch.uint8)), [[[0, 0.2, 1]]])


def test_tiles_stand_row_by_row_with_a_gap():
    tiles = [np.full((2, 2), value, np.float32) for value in (1, 2, 3)]
    nan = np.nan
    expected = [
        [1, 1, nan, 2, 2],
        [1, 1, nan, 2, 2],
        [nan, nan, nan, nan, nan],
        [3, 3, nan, nan, nan],
        [3, 3, nan, nan, nan],
    ]
    np.testing.assert_array_equal(sheet(tiles, 2), np.array(expected))


def test_a_patch_at_the_border_keeps_its_place_in_the_tile():
    image = np.arange(75, dtype=np.float32).reshape(5, 5, 3)
    top_left, bottom = crop(image, (0, 0, 2, 2), 3), crop(image, (3, 1, 5, 4), 3)
    np.testing.assert_array_equal(top_left[1:, 1:], image[:2, :2])
    assert np.isnan(top_left[0]).all()
    assert np.isnan(top_left[:, 0]).all()
    np.testing.assert_array_equal(bottom[:2], image[3:, 1:4])
    assert np.isnan(bottom[2]).all()


def test_sheets_are_nearly_square():
    assert [nearly_square(count) for count in (1, 4, 6, 9, 96)] == [1, 2, 3, 3, 10]


def test_small_tiles_are_magnified_whole_and_large_ones_left():
    small, large = np.arange(4, dtype=np.float32).reshape(2, 2), np.zeros((70, 100, 3), np.float32)
    (magnified_one,) = magnified([small])
    np.testing.assert_array_equal(magnified_one, np.kron(small, np.ones((32, 32))))
    assert magnified([large])[0].shape == large.shape
    assert (gap_of([magnified_one]), gap_of([large])) == (3, 5)


def test_a_few_pixels_that_outshine_the_others_are_clipped():
    values = torch.cat([torch.full((1, 1, 99), 0.1), torch.full((1, 1, 1), -100.0)], 2)
    pixels = around_grey(values, share=0.9)[0, :, 0]
    np.testing.assert_allclose(pixels, [1.0] * 99 + [0.0], atol=1e-6)
