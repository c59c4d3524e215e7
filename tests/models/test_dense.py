import itertools
from collections import OrderedDict

import pytest
import torch
from torch import nn

import models
from models.dense import Dense
from models.layers import with_fully_connected
from models.lenet import lenet5_modern

CLASSES = 7


def of_windows(network, images, flatten, size):
    """What the layers from `flatten` on say of every window of feature maps, one after another."""
    layers = list(network.trunk) + list(network.classifier) if hasattr(network, "trunk") else list(network)
    averaged = isinstance(layers[flatten - 1], nn.AdaptiveAvgPool2d)
    maps = nn.Sequential(*layers[: flatten - averaged])(images)
    classifier = nn.Sequential(*layers[flatten - averaged :])
    height, width = size
    scores = [
        [classifier(maps[:, :, top : top + height, left : left + width]) for left in range(maps.shape[3] - width + 1)]
        for top in range(maps.shape[2] - height + 1)
    ]
    return torch.stack([torch.stack(row, -1) for row in scores], -2)


@pytest.mark.parametrize(
    ("name", "options", "side", "channels", "image", "places"),
    [
        ("alexnet", {}, 99, 3, (131, 163), (2, 3)),
        ("vgg_a", {}, 64, 3, (96, 128), (2, 3)),
        ("googlenet", {"auxiliary": False}, 64, 3, (96, 128), (2, 3)),
        ("resnet20", {}, 32, 3, (40, 48), (3, 5)),
        ("lenet5", {}, 32, 1, (36, 40), (2, 3)),
        ("fully_connected", {"hidden": [5]}, 32, 1, (33, 34), (2, 3)),
    ],
)
def test_a_score_is_what_the_classifier_says_of_a_window_of_feature_maps(name, options, side, channels, image, places):
    torch.manual_seed(0)
    network = models.create(name, CLASSES, channels, side, **options).eval()
    dense, images = Dense(network, channels, (side, side)).eval(), torch.randn(1, channels, *image)
    layers = list(network.trunk) + list(network.classifier) if hasattr(network, "trunk") else list(network)
    flatten = next(place for place, layer in enumerate(layers) if isinstance(layer, nn.Flatten))
    with torch.no_grad():
        scores = dense(images)
        assert scores.shape == (1, CLASSES, *places)
        expected = of_windows(network, images, flatten, dense.window)
        torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-4)
        own_size = images[:, :, :side, :side]
        torch.testing.assert_close(dense(own_size)[:, :, 0, 0], network(own_size), atol=1e-5, rtol=1e-4)


def without_padding(name, side):
    """The network with all padding of its convolutions taken away, for images of that side."""
    layers = OrderedDict(models.create(name, CLASSES, 3, 224 if name == "vgg_a" else 227).named_children())
    names = list(layers)
    features = OrderedDict((layer, layers[layer]) for layer in names[: names.index("flatten")])
    for layer in features.values():
        if isinstance(layer, nn.Conv2d):
            layer.padding = (0, 0)
    return with_fully_connected(features, 512 if name == "vgg_a" else 256, (side, side), CLASSES, dropout=0.5).eval()


@pytest.mark.parametrize(
    ("name", "side", "stride"), [("alexnet", 195, 32), ("vgg_a", 150, 32), ("lenet5_modern", 32, 4)]
)
def test_without_padding_a_score_is_that_of_the_crop(name, side, stride):
    torch.manual_seed(0)
    network = lenet5_modern(CLASSES, 3).eval() if name == "lenet5_modern" else without_padding(name, side)
    images = torch.randn(1, 3, side + stride, side + 2 * stride)
    with torch.no_grad():
        scores = Dense(network, 3, (side, side)).eval()(images)
        assert scores.shape == (1, CLASSES, 2, 3)
        for row, column in itertools.product(range(2), range(3)):
            top, left = row * stride, column * stride
            expected = network(images[:, :, top : top + side, left : left + side])
            torch.testing.assert_close(scores[:, :, row, column], expected, atol=1e-5, rtol=1e-4)


def test_the_weights_are_the_networks_own():
    network = lenet5_modern(CLASSES, 1).eval()
    dense = Dense(network, 1, (32, 32)).eval()
    assert {id(weight) for weight in dense.parameters()} == {id(weight) for weight in network.parameters()}
