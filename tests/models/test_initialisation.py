"""What the papers say of initial weights, for those that say something."""

import math

import pytest
import torch
from torch import nn

import models


def made(name, **options):
    torch.manual_seed(0)
    return models.create(name, 10, 3, 80, **options)


def weighted(network):
    return {name: layer for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}


@pytest.mark.parametrize(
    ("name", "of_ones"), [("alexnet", {"conv2", "conv4", "conv5", "fc6", "fc7"}), ("zfnet", set())]
)
def test_alexnets_and_zfnets_weights_are_from_a_normal_distribution_of_001(name, of_ones):
    for layer, weights in weighted(made(name)).items():
        assert float(weights.weight.detach().std()) == pytest.approx(0.01, rel=0.03), layer
        assert float(weights.weight.detach().mean()) == pytest.approx(0, abs=3e-4), layer
        assert torch.equal(weights.bias, torch.full_like(weights.bias, float(layer in of_ones))), layer


def test_vggs_weights_are_glorots():
    for layer, weights in weighted(made("vgg_b")).items():
        window = math.prod(weights.weight.shape[2:])
        variance = 2 / (window * (weights.weight.shape[0] + weights.weight.shape[1]))
        assert float(weights.weight.detach().var()) == pytest.approx(variance, rel=0.06), layer
        assert not weights.bias.any()


@pytest.mark.parametrize("name", ["resnet18", "plain18", "resnet20", "googlenet"])
def test_convolutions_of_deep_nets_keep_the_variance_of_what_they_rectify(name):
    for layer, weights in weighted(made(name)).items():
        if isinstance(weights, nn.Conv2d):
            variance = 2 / math.prod(weights.weight.shape[1:])
            assert float(weights.weight.detach().var()) == pytest.approx(variance, rel=0.2), layer
