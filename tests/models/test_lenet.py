import pytest
import torch

import models


def test_parameters_are_those_of_the_layers_in_the_paper_with_a_full_c3():
    network = models.create("lenet5_modern", num_classes=10, in_channels=1)
    by_layer = {name: sum(p.numel() for p in layer.parameters()) for name, layer in network.named_children()}
    assert {name: count for name, count in by_layer.items() if count} == {
        "c1": 156,
        "c3": 2_416,
        "c5": 48_120,
        "f6": 10_164,
        "output": 850,
    }
    assert sum(by_layer.values()) == 61_706


@pytest.mark.parametrize(("classes", "channels"), [(10, 1), (7, 3)])
def test_logits_have_a_column_a_class_for_any_channels(classes, channels):
    network = models.create("lenet5_modern", num_classes=classes, in_channels=channels)
    assert network(torch.zeros(5, channels, 32, 32)).shape == (5, classes)


def test_gradients_reach_every_parameter():
    network = models.create("lenet5_modern", num_classes=10, in_channels=1)
    network(torch.randn(8, 1, 32, 32)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in network.parameters())


def test_an_unknown_network_is_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match="no such network; there are lenet5_modern"):
        models.create("lenet6", num_classes=10, in_channels=1)
