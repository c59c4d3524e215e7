import pytest
import torch
from torch import nn

import models
from pipelines.config import InputError
from pipelines.visualization.layers import check_maps, choose_layers, first_weights, layers_of, outputs_of
from tests.pipelines.visualization.networks import Graph, blob_finder

LENET = models.create("lenet5_modern", 10, 1).eval()
DIGIT = torch.zeros(1, 1, 32, 32)


def test_layers_have_the_shapes_of_what_they_give():
    layers = layers_of(LENET, DIGIT)
    assert str(layers["c3"]) == "c3 (16 maps of 10 x 10)"
    assert str(layers["f6"]) == "f6 (84 maps of 1 x 1)"
    assert list(layers)[:3] == ["c1", "c1_relu", "s2"]


def test_a_layer_that_is_called_twice_counts_where_it_ends():
    layers = layers_of(Graph().eval(), torch.zeros(1, 3, 16, 16))
    assert list(layers) == ["stem", "norm", "pool", "left", "right", "relu", "output"]
    assert (layers["relu"].height, layers["pool"].pooled, layers["relu"].pooled) == (4, True, False)


def test_without_a_wish_the_last_layer_of_every_resolution_is_chosen():
    assert [layer.name for layer in choose_layers(layers_of(LENET, DIGIT), ())] == ["c1_relu", "c3_relu"]


def test_a_container_that_ends_in_pooling_counts_as_pooling():
    stages = nn.Sequential(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2)), nn.Conv2d(2, 3, 3))
    assert [layer.name for layer in choose_layers(layers_of(stages, DIGIT), ())] == ["0.1", "1"]


def test_a_network_without_maps_shows_its_units():
    network = nn.Sequential(nn.Flatten(), nn.Linear(1024, 3))
    assert [layer.name for layer in choose_layers(layers_of(network, DIGIT), ())] == ["1"]


def test_an_unknown_layer_is_answered_with_those_there_are():
    with pytest.raises(InputError, match=r"no layer 'conv1'; there are c1 \(6 maps of 28 x 28\), c1_relu .*output"):
        choose_layers(layers_of(LENET, DIGIT), ["c1", "conv1"])


@pytest.mark.parametrize("number", [6, -1])
def test_an_unknown_feature_map_is_answered_with_their_number(number):
    layer = layers_of(LENET, DIGIT)["c1"]
    check_maps(layer, range(6))
    with pytest.raises(InputError, match=rf"layer c1 has no feature map {number}; it has 6, numbered 0 to 5"):
        check_maps(layer, [2, number])


def test_outputs_are_as_the_layer_gave_them_whatever_works_in_place_after_it():
    network = blob_finder()
    image = torch.zeros(1, 1, 24, 24)
    with outputs_of(network, ["conv"]) as outputs:
        network(image)
    assert outputs["conv"].max() == -2  # the threshold; the rectifier in place would leave 0


def test_hooks_are_gone_afterwards():
    with outputs_of(LENET, ["c1"]) as outputs:
        pass
    LENET(DIGIT)
    assert not outputs


def test_the_first_filters_are_those_over_the_images_channels():
    name, weights = first_weights(Graph(), torch.zeros(1, 3, 16, 16))
    assert (name, weights.shape) == ("stem", (8, 3, 3, 3))


def test_a_fully_connected_layers_filters_are_as_large_as_the_image():
    name, weights = first_weights(nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 5, 7)), torch.zeros(1, 3, 4, 5))
    assert (name, weights.shape) == ("1", (7, 3, 4, 5))


def test_a_network_without_first_filters_says_so():
    with pytest.raises(InputError, match="no convolution over 1 channels"):
        first_weights(nn.Sequential(nn.Flatten()), DIGIT)
