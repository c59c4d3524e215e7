import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from models.classifier import Classifier

MEAN, STD = (0.1, 0.45, 0.8), (0.2, 0.25, 0.3)


def images(channels, dtype=torch.uint8):
    return torch.randint(0, 256, (3, 5, 7, channels), generator=torch.Generator().manual_seed(0)).to(dtype)


def textbook(images_NHWC, mean, std):
    """Pixel by pixel in float64, as it is written in papers."""
    expected = torch.empty(images_NHWC.permute(0, 3, 1, 2).shape, dtype=torch.float64)
    for channel, (m, s) in enumerate(zip(mean, std, strict=True)):
        expected[:, channel] = (images_NHWC[..., channel].double() / 255 - m) / s
    return expected


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_pixels_are_normalised_channel_by_channel_as_the_textbook_says(channels, dtype):
    mean, std = MEAN[:channels], STD[:channels]
    given = images(channels, dtype)
    normalised = Classifier(nn.Identity(), mean, std)(given)
    torch.testing.assert_close(normalised.double(), textbook(given, mean, std), rtol=1e-6, atol=2e-6)
    assert normalised.dtype == torch.float32


def test_the_network_gets_channels_first_stored_channels_last():
    normalised = Classifier(nn.Identity(), MEAN, STD)(images(3))
    assert normalised.shape == (3, 3, 5, 7)
    assert normalised.is_contiguous(memory_format=torch.channels_last)


def test_a_channel_that_never_varies_counts_in_grey_levels():
    black = torch.zeros(1, 1, 1, 1, dtype=torch.uint8)
    classifier = Classifier(nn.Identity(), mean=(0.0,), std=(0.0,))
    assert [float(classifier(black + level)) for level in (0, 1, 255)] == pytest.approx([0, 1, 255])


def test_under_autocast_the_network_gets_its_type_rounded_once():
    classifier = Classifier(nn.Identity(), MEAN, STD)
    exact = classifier(images(3))
    with torch.autocast("cpu", torch.bfloat16):
        normalised = classifier(images(3))
    torch.testing.assert_close(normalised, exact.bfloat16(), rtol=0, atol=0)


def test_normalising_is_one_operation():
    classifier, given = Classifier(nn.Identity(), MEAN, STD), images(3)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        classifier(given)
    outermost = [event.name for event in seen.events() if event.cpu_parent is None]
    assert outermost == ["aten::permute", "aten::empty_like", "aten::addcmul"]


def test_whoever_loads_the_weights_normalises_with_their_constants():
    trained = Classifier(nn.Identity(), MEAN, STD)
    assert list(trained.state_dict()) == ["mean", "std"]
    served = Classifier(nn.Identity(), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    served.load_state_dict(trained.state_dict())
    torch.testing.assert_close(served(images(3)), trained(images(3)), rtol=0, atol=0)
