import torch
from torch import nn

import models
from pipelines.visualization.receptive_field import receptive_fields
from tests.pipelines.visualization.networks import Graph, blob_finder


def field(network, shape, layer, row, column):
    return receptive_fields(network, shape, layer, torch.tensor([[row, column]]))[0].tolist()


def test_lenet_sees_5_6_14_and_16_pixels():
    """A layer sees kernel - 1 times the stride so far more than the one before."""
    network = models.create("lenet5_modern", 10, 1).eval()
    assert field(network, (1, 32, 32), "c1", 3, 7) == [3, 7, 8, 12]
    assert field(network, (1, 32, 32), "s2", 3, 7) == [6, 14, 12, 20]
    assert field(network, (1, 32, 32), "c3", 3, 7) == [6, 14, 20, 28]
    assert field(network, (1, 32, 32), "s4", 2, 0) == [8, 0, 24, 16]
    assert field(network, (1, 32, 32), "output", 0, 0) == [0, 0, 32, 32]


def test_the_images_border_cuts_fields_off():
    assert field(blob_finder(), (1, 24, 24), "conv", 0, 23) == [0, 21, 3, 24]


def test_weights_of_zero_and_maps_without_activation_count():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 1, 3))
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    assert field(network, (1, 9, 9), "2", 1, 2) == [1, 2, 6, 7]


def test_groups_strides_and_dilation_count():
    network = nn.Sequential(nn.Conv2d(4, 4, 3, stride=2, groups=2), nn.Conv2d(4, 2, 3, dilation=2, groups=2))
    assert field(network, (4, 32, 32), "1", 1, 3) == [2, 6, 13, 17]


def test_a_graph_has_the_field_of_its_widest_branch():
    """Stem 3 x 3 by 2, pooling 3 x 3 by 2: 7 pixels; one more 3 x 3 in steps of 4: 15. Position 2 begins at pixel 8."""
    assert field(Graph().eval(), (3, 32, 32), "left", 2, 2) == [7, 7, 14, 14]
    assert field(Graph().eval(), (3, 32, 32), "right", 2, 2) == [3, 3, 18, 18]


def test_fields_come_in_the_order_of_their_positions():
    positions = torch.tensor([[5, 5], [2, 9], [5, 5]])
    boxes = receptive_fields(blob_finder(), (1, 24, 24), "conv", positions)
    assert boxes.tolist() == [[3, 3, 8, 8], [0, 7, 5, 12], [3, 3, 8, 8]]


def test_the_edges_of_a_very_deep_networks_field_are_seen():
    depth = 100
    network = nn.Sequential(*(nn.Conv2d(1, 1, 3) for _ in range(depth)))
    side = 2 * depth + 3
    assert field(network, (1, side, side), str(depth - 1), 1, 1) == [1, 1, side - 1, side - 1]
