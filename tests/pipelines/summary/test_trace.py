import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipelines.summary.trace import kept_for_backward, on_meta, trace


def rows(network, channels=4, size=(8, 8)):
    """Without the input's."""
    return trace(network, channels, size)[0][1:]


def only(network, channels=4, size=(8, 8)):
    (row,) = rows(network, channels, size)
    return row


@pytest.mark.parametrize(
    ("layer", "label", "filter_", "volume", "weights", "biases", "multiply_adds"),
    [
        (nn.Conv2d(4, 6, 3), "CONV3-6", "3x3", (6, 6, 6), 216, 6, 36 * 216),
        (nn.Conv2d(4, 6, 3, bias=False), "CONV3-6", "3x3", (6, 6, 6), 216, 0, 36 * 216),
        (nn.Conv2d(4, 6, 3, groups=2), "CONV3-6", "3x3, 2 groups", (6, 6, 6), 108, 6, 36 * 108),
        (nn.Conv2d(4, 6, (3, 1), 2, (1, 0)), "CONV3x1-6", "3x1, stride 2, pad 1x0", (4, 4, 6), 72, 6, 16 * 72),
        (nn.Conv2d(4, 6, 3, padding="same"), "CONV3-6", "3x3, pad 1", (8, 8, 6), 216, 6, 64 * 216),
        (nn.Conv2d(4, 6, 3, dilation=2), "CONV3-6", "3x3, dilation 2", (4, 4, 6), 216, 6, 16 * 216),
        (nn.MaxPool2d(2), "POOL2", "2x2, stride 2", (4, 4, 4), 0, 0, 0),
        (nn.MaxPool2d(3, 2, ceil_mode=True), "POOL3", "3x3, stride 2, ceil", (4, 4, 4), 0, 0, 0),
        (nn.AvgPool2d(3, 1, 1), "AVGPOOL3", "3x3, pad 1", (8, 8, 4), 0, 0, 0),
        (nn.AdaptiveAvgPool2d(1), "AVGPOOL8", "8x8, adaptive to 1x1", (1, 1, 4), 0, 0, 0),
        (nn.AdaptiveAvgPool2d(3), "AVGPOOL4", "4x4, adaptive to 3x3", (3, 3, 4), 0, 0, 0),
        (nn.BatchNorm2d(4), "BN", "", (8, 8, 4), 4, 4, 0),
        (nn.LocalResponseNorm(3), "NORM", "", (8, 8, 4), 0, 0, 0),
        (nn.Sequential(nn.Flatten(), nn.Linear(256, 5)), "FC 5", "", (1, 1, 5), 1280, 5, 1280),
    ],
    ids=str,
)
def test_a_layer_is_counted_as_the_field_counts_it(layer, label, filter_, volume, weights, biases, multiply_adds):
    row = only(layer)
    assert (row.label, row.filter, row.volume) == (label, filter_, volume)
    assert (row.weights, row.biases, row.multiply_adds) == (weights, biases, multiply_adds)


def test_pooling_that_changes_no_size_is_no_layer():
    assert rows(nn.AdaptiveAvgPool2d(8)) == []


class Block(nn.Module):
    """Two branches, written as functions."""

    def __init__(self) -> None:
        super().__init__()
        self.deep = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1))
        self.shared = nn.Conv2d(4, 4, 1)

    def forward(self, maps: Tensor) -> Tensor:
        joined = self.shared(self.shared(maps)) + self.deep(maps)
        return torch.cat([joined, F.max_pool2d(maps, 3, 1, 1)], 1).mean((2, 3))


def test_branches_come_in_the_order_in_which_they_run_with_sums_and_concatenations_between():
    found, depth = trace(nn.Sequential(Block(), nn.Linear(8, 2)), 4, (8, 8))
    labels = ["INPUT", "CONV1-4", "CONV1-4", "CONV3-4", "CONV3-4", "ADD", "POOL3", "CONCAT", "AVGPOOL8", "FC 2"]
    modules = ["", "0.shared", "0.shared", "0.deep.0", "0.deep.2", "0", "0", "0", "0", "1"]
    assert [row.label for row in found] == labels
    assert [row.module for row in found] == modules
    assert depth == 3
    assert [row.fields[0].size for row in found] == [1, 1, 1, 3, 5, 5, 3, 5, 12, 12]


def test_weights_that_are_used_twice_are_counted_once_and_their_arithmetic_twice():
    shared = [row for row in rows(Block()) if row.module == "shared"]
    assert [row.weights for row in shared] == [16, 0]
    assert [row.multiply_adds for row in shared] == [64 * 16, 64 * 16]


class Subsampling(nn.Module):
    """Weights of its own around a function, as LeNet's."""

    def __init__(self) -> None:
        super().__init__()
        self.coefficient, self.bias = nn.Parameter(torch.ones(4, 1, 1)), nn.Parameter(torch.zeros(4, 1, 1))

    def forward(self, maps: Tensor) -> Tensor:
        return torch.tanh(4 * F.avg_pool2d(maps, 2) * self.coefficient + self.bias)


def test_a_module_with_weights_of_its_own_is_one_row():
    row = only(Subsampling())
    assert (row.label, row.volume, row.weights, row.biases) == ("AVGPOOL2", (4, 4, 4), 4, 4)
    assert (row.fields[0].size, row.fields[0].stride) == (2, 2)


def test_a_fully_connected_layer_sees_all_of_the_map_before_it():
    network = nn.Sequential(nn.Conv2d(4, 2, 3, stride=2), nn.Flatten(), nn.Linear(18, 1))
    assert rows(network)[-1].fields[0].size == 3 + 2 * 2


def test_the_network_itself_is_not_touched():
    network = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    trace(network, 4, (8, 8))
    kept_for_backward(network, 4, (8, 8), 2)
    assert network.training
    assert not network[0]._forward_hooks
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert all(tensor.is_meta for tensor in on_meta(network).state_dict().values())


def test_what_is_kept_for_backward_is_what_each_layer_needs_for_its_gradients():
    network = nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(54, 5))
    image, rectified, pooled, positions = 256, 216, 54, 54  # positions are 8 bytes each
    assert kept_for_backward(network, 4, (8, 8), 10) == 10 * (4 * (image + rectified + pooled) + 8 * positions)


def test_what_is_kept_counts_the_real_tensors_of_a_real_step():
    network, kept = nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.Tanh(), nn.Dropout(0.5)), {}
    own = {tensor.data_ptr() for tensor in (*network.parameters(), *network.buffers())}

    def keep(tensor):
        if tensor.data_ptr() not in own:
            kept[tensor.data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = network(torch.zeros(3, 4, 8, 8))
    assert kept_for_backward(network, 4, (8, 8), 3) == sum(
        tensor.untyped_storage().nbytes() for tensor in kept.values()
    )
    del output
