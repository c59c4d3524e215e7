import pytest
import torch
from torch import nn

from pipelines.training.layout import place


@pytest.mark.parametrize(("channels_last", "expected"), [("auto", False), (False, False), (True, True)])
def test_weights_and_maps_on_the_cpu_are_channels_last_only_if_asked_for(channels_last, expected):
    model = nn.Conv2d(3, 4, 3)
    before = model.weight.detach().clone()
    place(model, torch.device("cpu"), channels_last)
    assert model.weight.is_contiguous(memory_format=torch.channels_last) == expected
    assert model(torch.randn(2, 3, 6, 6)).is_contiguous(memory_format=torch.channels_last) == expected
    assert torch.equal(model.weight, before)
