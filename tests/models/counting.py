"""Counts multiply-adds and shapes on the meta device, where no number is computed and no memory taken."""

import torch
from torch import nn

import models


def on_meta(name, num_classes=1000, in_channels=3, input_size=None, **options):
    with torch.device("meta"):
        return models.create(name, num_classes, in_channels, input_size, **options).eval()


def passed(network, in_channels, height, width):
    """(name, layer, output shape) of each layer without layers in it, in the order in which one image passes them."""
    seen = []
    for name, layer in network.named_modules():
        if not list(layer.children()):
            layer.register_forward_hook(lambda layer, _, out, name=name: seen.append((name, layer, tuple(out.shape))))
    network(torch.empty(1, in_channels, height, width, device="meta"))
    return seen


def multiply_adds(network, in_channels, height, width):
    total = 0
    for _, layer, shape in passed(network, in_channels, height, width):
        if isinstance(layer, nn.Conv2d):
            total += layer.weight.numel() * shape[2] * shape[3]
        elif isinstance(layer, nn.Linear):
            total += layer.weight.numel()
    return total


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())
