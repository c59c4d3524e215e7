import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.signal import convolve2d
from torch.nn import functional as F

from pipelines.summary.convolution import (
    IMAGE,
    SOBEL_X,
    SOBEL_Y,
    convolve,
    convolve_by_windows,
    draw,
    page,
    photograph,
    worked,
)
from tests.conftest import REPOSITORY


@pytest.mark.parametrize("kernel", [SOBEL_X, SOBEL_Y, np.arange(6.0).reshape(2, 3), np.array([[2.0]])], ids=str)
@pytest.mark.parametrize("mode", ["full", "valid"])
def test_the_discrete_sum_is_scipys_convolution(kernel, mode):
    image = np.random.default_rng(0).normal(size=(7, 9))
    np.testing.assert_allclose(convolve(image, kernel, mode), convolve2d(image, kernel, mode), atol=1e-12)


@pytest.mark.parametrize("kernel", [SOBEL_X, SOBEL_Y])
def test_flipping_the_kernel_and_sliding_it_is_scipys_convolution_of_the_photograph(kernel):
    image = photograph()
    np.testing.assert_allclose(convolve_by_windows(image, kernel), convolve2d(image, kernel, "valid"), atol=1e-9)


def test_torch_leaves_the_flip_out():
    image, kernel = (torch.from_numpy(array)[None, None] for array in (IMAGE, np.arange(9.0).reshape(3, 3)))
    flipped = convolve(IMAGE, np.arange(9.0).reshape(3, 3)[::-1, ::-1], "valid")
    np.testing.assert_allclose(F.conv2d(image, kernel)[0, 0], flipped)


def test_the_value_worked_by_hand_is_the_convolutions():
    terms = worked(IMAGE, SOBEL_X, 0, 1)
    assert terms.endswith(f"= {convolve2d(IMAGE, SOBEL_X, 'valid')[0, 1]:g}")
    assert terms.count("*") == 9


def test_the_page_is_what_the_code_writes():
    assert (REPOSITORY / "docs" / "convolution.md").read_text() == page()


def test_the_picture_is_what_the_code_draws_and_small():
    path, drawn = REPOSITORY / "docs" / "convolution.jpg", io.BytesIO()
    assert path.stat().st_size < 150_000
    draw(photograph()).savefig(drawn, format="png", dpi=100)
    kept, anew = (np.asarray(Image.open(file).convert("L"), float) for file in (path, drawn))
    assert kept.shape == anew.shape
    assert np.abs(kept - anew).mean() < 4
