import math

import pytest
import torch
from torch import nn

import models
from models.sizes import size_after
from tests.models.counting import on_meta


def test_names_are_those_of_the_revolution_of_depth():
    assert {name.rstrip("0123456789") for name in models.names()} >= {
        *("alexnet", "alexnet_two_tower", "zfnet", "zfnet_large", "googlenet", "resnet", "plain", "fully_connected"),
        *("vgg_a", "vgg_a_lrn", "vgg_b", "vgg_c", "vgg_d", "vgg_e"),
    }


def test_an_unknown_network_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match=r"'vgg_dd': no such network; there are .*vgg_e.*; did you mean vgg_d\?"):
        models.create("vgg_dd", 10, 3)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vgg_d", {"batchnorm": True}, r"vgg_d has no such option; .*dropout, batch_norm; did you mean batch_norm\?"),
        ("resnet18", {"dropout": 0.5}, r"model.options.dropout: resnet18 has no such option; it has none"),
        ("alexnet", {"dropout": 1.0}, r"model.options.dropout = 1.0: expected a share"),
        ("alexnet", {"dropout": True}, r"model.options.dropout = True: expected a share"),
        ("vgg_a", {"batch_norm": 1}, r"model.options.batch_norm = 1: expected true or false"),
        ("fully_connected", {"hidden": [64, 0]}, r"model.options.hidden = \[64, 0\]: expected a list of whole numbers"),
        ("fully_connected", {"hidden": 64}, r"model.options.hidden = 64: expected a list"),
    ],
)
def test_a_wrong_option_is_refused_with_what_is_legal(name, options, message):
    with pytest.raises(ValueError, match=message):
        on_meta(name, **options)


def test_every_option_can_be_given_as_it_is_when_it_is_not_given():
    for name in models.names():
        assert str(on_meta(name, **models.options(name))) == str(on_meta(name))


def test_options_reach_the_layers():
    dropouts = [layer.p for layer in on_meta("vgg_a", dropout=0.25).modules() if isinstance(layer, nn.Dropout)]
    assert dropouts == [0.25, 0.25]
    norms = [layer for layer in on_meta("vgg_a", batch_norm=True).modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) == 8
    googlenet = on_meta("googlenet", dropout=0.1, auxiliary_dropout=0.2)
    assert [layer.p for layer in googlenet.modules() if isinstance(layer, nn.Dropout)] == [0.2, 0.2, 0.1]


RESIZABLE = [name for name in models.names() if not name.startswith("lenet")]


@pytest.mark.parametrize("name", RESIZABLE)
@pytest.mark.parametrize(("classes", "channels", "size"), [(7, 1, (96, 96)), (10, 4, (110, 131))])
def test_networks_are_made_for_any_classes_channels_and_sensible_size(name, classes, channels, size):
    network = on_meta(name, classes, channels, size)
    assert network(torch.empty(2, channels, *size, device="meta")).shape == (2, classes)


IMPOSSIBLE = {
    "alexnet": (
        66,
        "of images of 66 x 66 only 2 x 2 reach pool5, whose window is 3 x 3; take images of at least 67 x 67",
    ),
    "zfnet": (20, "reach conv2, whose window is 5 x 5; take images of at least"),
    "vgg_d": (
        31,
        "of images of 31 x 31 only 1 x 1 reach pool5, whose window is 2 x 2; take images of at least 32 x 32",
    ),
    "googlenet": (64, r"reach auxiliary_pool, .*, or leave the auxiliary heads out \(auxiliary = false\)"),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_an_impossible_size_is_refused_with_the_layer_and_the_smallest_that_goes(name):
    side, message = IMPOSSIBLE[name]
    with pytest.raises(models.SizeError, match=message) as refusal:
        on_meta(name, 10, 3, side)
    assert str(refusal.value).startswith(f"{name}: ")
    height, width = map(int, str(refusal.value).split("at least ")[1].split(",")[0].split(" x "))
    assert on_meta(name, 10, 3, (height, width))(torch.empty(1, 3, height, width, device="meta")).shape == (1, 10)
    with pytest.raises(models.SizeError):
        on_meta(name, 10, 3, (height - 1, width))


def test_googlenet_without_its_heads_takes_smaller_images():
    assert on_meta("googlenet", 10, 3, 32, auxiliary=False)(torch.empty(1, 3, 32, 32, device="meta")).shape == (1, 10)


@pytest.mark.parametrize("size", [0, -3, (0, 32)])
def test_an_image_without_pixels_is_refused(size):
    with pytest.raises(models.SizeError, match="at least one pixel"):
        models.create("resnet20", 10, 3, size)


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("window", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_sizes_are_those_that_the_layers_give(window, stride, ceil_mode):
    for padding in range(window // 2 + 1):
        pool = nn.MaxPool2d(window, stride, padding, ceil_mode=ceil_mode)
        for side in range(max(1, window - 2 * padding), 14):
            given = pool(torch.empty(1, 1, side, side + 3, device="meta")).shape[2:]
            assert size_after({"pool": pool}, (side, side + 3)) == tuple(given)


def test_sizes_count_places_of_the_window_as_the_rule_does():
    convolution = nn.Conv2d(1, 1, 11, stride=4)
    assert size_after({"conv1": convolution}, (227, 227)) == ((227 - 11) // 4 + 1,) * 2
    assert size_after({"conv1": convolution}, (224, 224)) == (math.floor((224 - 11) / 4 + 1),) * 2
