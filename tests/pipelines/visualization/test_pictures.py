import numpy as np
import torch

from pipelines.visualization.pictures import draw_samples


def test_samples_are_shown_as_they_are_one_beside_the_other():
    torch.manual_seed(0)
    images = torch.randint(0, 256, (10, 64, 64, 3), dtype=torch.uint8)
    (axes,) = draw_samples(images).axes
    assert axes.get_title() == "Training images as the network is given them, 64 x 64 pixels"
    sheet = axes.get_images()[0].get_array()
    assert sheet.shape == (2 * 64 + 3, 8 * 64 + 7 * 3, 3)  # eight across, gaps between
    np.testing.assert_allclose(sheet[:64, :64], images[0] / 255, atol=1e-6)
    np.testing.assert_allclose(sheet[67:, 67 : 67 + 64], images[9] / 255, atol=1e-6)


def test_grey_samples_are_grey_in_three_channels():
    (axes,) = draw_samples(torch.full((1, 64, 64, 1), 51, dtype=torch.uint8)).axes
    assert axes.get_images()[0].get_array()[0, 0].tolist() == [np.float32(0.2)] * 3
