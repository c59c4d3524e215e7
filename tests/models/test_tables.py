"""The papers' figures: parameters, multiply-adds, shapes."""

import itertools

import pytest
import torch
from torch import nn

import models
from models.layers import LocalResponseNorm
from models.resnet import Residual
from models.vgg import TABLE
from tests.models.counting import multiply_adds, on_meta, parameters, passed

FIGURES = {
    "alexnet": (62_378_344, 1_135_256_096),
    "alexnet_two_tower": (60_965_224, 724_406_816),
    "zfnet": (62_357_608, 1_168_032_896),
    "zfnet_large": (107_627_624, 2_476_704_896),
    "vgg_a": (132_863_336, 7_609_090_048),
    "vgg_a_lrn": (132_863_336, 7_609_090_048),
    "vgg_b": (133_047_848, 11_308_466_176),
    "vgg_c": (133_638_952, 11_770_888_192),
    "vgg_d": (138_357_544, 15_470_264_320),
    "vgg_e": (143_667_240, 19_632_062_464),
    "googlenet": (13_378_280, 1_582_671_872),
    "resnet18": (11_689_512, 1_814_073_344),
    "resnet34": (21_797_672, 3_663_761_408),
    "resnet50": (25_557_032, 4_089_184_256),
    "resnet101": (44_549_160, 7_801_405_440),
    "resnet152": (60_192_808, 11_513_626_624),
}

SIZES = {"alexnet": (227, 227), "alexnet_two_tower": (227, 227)}


@pytest.mark.parametrize("name", FIGURES)
def test_parameters_and_multiply_adds_for_imagenet_are_the_papers(name):
    network, size = on_meta(name), SIZES.get(name, (224, 224))
    assert models.input_size(name) == size
    assert (parameters(network), multiply_adds(network, 3, *size)) == FIGURES[name]


def test_without_auxiliary_heads_googlenet_has_what_evaluation_needs():
    assert parameters(on_meta("googlenet", auxiliary=False)) == 6_998_552


def test_googlenets_auxiliary_convolutions_are_counted_in_the_figure_that_is_often_given():
    """1,584,801,792 has the heads' 1 x 1 convolutions over 4 x 4 in it, but not their linear layers."""
    network = on_meta("googlenet")
    convolutions = sum(4 * 4 * head.conv.weight.numel() for head in network.auxiliary.values())
    assert multiply_adds(network, 3, 224, 224) + convolutions == 1_584_801_792


@pytest.mark.parametrize(("name", "layers"), [("18", (2, 2, 2, 2)), ("34", (3, 4, 6, 3))])
def test_plain_twins_are_residual_nets_without_their_projections(name, layers):
    plain, residual = on_meta(f"plain{name}"), on_meta(f"resnet{name}")
    projections = sum((64 << stage) * (128 << stage) + 2 * (128 << stage) for stage in range(3))
    assert parameters(residual) - parameters(plain) == projections
    of_shortcuts = 28 * 28 * 64 * 128 * 3  # each halves both sides and doubles both maps
    assert multiply_adds(residual, 3, 224, 224) - multiply_adds(plain, 3, 224, 224) == of_shortcuts
    assert tuple(len(plain.get_submodule(f"conv{stage}_x")) for stage in (2, 3, 4, 5)) == layers


@pytest.mark.parametrize(("depth", "blocks"), [(20, 3), (56, 9), (110, 18)])
def test_small_resnets_have_6n_plus_2_layers_and_shortcuts_without_weights(depth, blocks):
    network = on_meta(f"resnet{depth}", num_classes=10)
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert len(layers) == depth == 6 * blocks + 2
    squares = 16 * 16 * 2 * blocks + 32 * 32 * (2 * blocks - 1) + 64 * 64 * (2 * blocks - 1) + 16 * 32 + 32 * 64
    of_norms = 2 * (16 + 2 * blocks * (16 + 32 + 64))
    assert parameters(network) == 9 * (3 * 16 + squares) + of_norms + 64 * 10 + 10
    stages = [shape for name, _, shape in passed(network, 3, 32, 32) if name.endswith(".relu")]
    assert stages == [(1, 16, 32, 32)] * blocks + [(1, 32, 16, 16)] * blocks + [(1, 64, 8, 8)] * blocks


def test_small_resnets_have_the_papers_parameters():
    """Table 6: 0.27, 0.85 and 1.7 million."""
    counts = {depth: parameters(on_meta(f"resnet{depth}", num_classes=10)) for depth in (20, 56, 110)}
    assert {depth: round(count / 1e6, 2) for depth, count in counts.items()} == {20: 0.27, 56: 0.85, 110: 1.73}


def test_the_fully_connected_net_of_the_lecture():
    D = 1024
    lecture = on_meta("fully_connected", 1, 1, 32, hidden=[D, D, D], bias=False)
    assert parameters(lecture) == multiply_adds(lecture, 1, 32, 32) == 3 * (D * D) + D


def by_layer(network):
    counts = {name: parameters(layer) for name, layer in network.named_children()}
    return [count for count in counts.values() if count]


def test_alexnets_layers():
    fully_connected = [37_752_832, 16_781_312, 4_097_000]
    towers = [34_944, 307_456, 885_120, 663_936, 442_624]
    assert by_layer(on_meta("alexnet_two_tower")) == towers + fully_connected
    assert by_layer(on_meta("alexnet")) == [34_944, 614_656, 885_120, 1_327_488, 884_992, *fully_connected]


def test_zfnets_layers():
    assert by_layer(on_meta("zfnet"))[:5] == [14_208, 614_656, 885_120, 1_327_488, 884_992]


def shapes(name, size, kinds):
    """height x width x maps, or units, after each layer of those kinds."""
    of_layers = passed(on_meta(name), 3, size, size)
    return {name: (*shape[2:], shape[1]) for name, layer, shape in of_layers if isinstance(layer, kinds)}


VOLUMES = (nn.Conv2d, nn.MaxPool2d, nn.Linear)


@pytest.mark.parametrize("name", ["alexnet", "alexnet_two_tower"])
def test_alexnets_slide(name):
    assert shapes(name, 227, VOLUMES) == {
        "conv1": (55, 55, 96),
        "pool1": (27, 27, 96),
        "conv2": (27, 27, 256),
        "pool2": (13, 13, 256),
        "conv3": (13, 13, 384),
        "conv4": (13, 13, 384),
        "conv5": (13, 13, 256),
        "pool5": (6, 6, 256),
        "fc6": (4096,),
        "fc7": (4096,),
        "fc8": (1000,),
    }


def test_alexnets_layers_in_the_slides_and_in_the_papers_order():
    slide, paper = (list(dict(on_meta(name).named_children())) for name in ("alexnet", "alexnet_two_tower"))
    assert slide[:8] == ["conv1", "relu1", "pool1", "norm1", "conv2", "relu2", "pool2", "norm2"]
    assert paper[:8] == ["conv1", "relu1", "norm1", "pool1", "conv2", "relu2", "norm2", "pool2"]
    assert slide[8:] == paper[8:]
    assert slide[-7:] == ["fc6", "relu6", "drop6", "fc7", "relu7", "drop7", "fc8"]


OVERLAPPING, OVER_THE_EDGE = (3, 2, 0, False), (3, 2, 0, True)
POOLINGS = {
    "alexnet": [OVERLAPPING] * 3,
    "alexnet_two_tower": [OVERLAPPING] * 3,
    "zfnet": [OVER_THE_EDGE] * 3,
    "vgg_d": [(2, 2, 0, False)] * 5,
    "googlenet": [OVER_THE_EDGE] * 2 + [(3, 1, 1, False)] * 2 + [OVER_THE_EDGE] + [(3, 1, 1, False)] * 5
    + [OVER_THE_EDGE] + [(3, 1, 1, False)] * 2,
    "resnet18": [(3, 2, 1, False)],
    "lenet5_modern": [(2, 2, 0, False)] * 2,
}  # fmt: skip
"""Window, stride, padding, whether a last window may hang over the edge."""


@pytest.mark.parametrize("name", POOLINGS)
def test_maxima_are_taken_over_the_papers_windows(name):
    pools = [layer for layer in on_meta(name).modules() if isinstance(layer, nn.MaxPool2d)]
    assert [(pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode) for pool in pools] == POOLINGS[name]


ENDS = {
    "resnet34": (".branch.bn2", ".shortcut.bn"),
    "resnet50": (".branch.bn3", ".shortcut.bn"),
    "resnet20": (".branch.bn2",),
}
"""Where a residual block rectifies only the sum."""


@pytest.mark.parametrize(
    "name", ["lenet5_modern", *SIZES, "zfnet", "vgg_a_lrn", "vgg_d", "googlenet", "plain34", *ENDS]
)
def test_every_layer_but_the_last_is_rectified(name):
    layers = [(place, layer) for place, layer, _ in passed(on_meta(name), 3, *models.input_size(name))]
    bare = [
        place
        for (place, layer), (_, after) in itertools.pairwise(layers)
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.BatchNorm2d)
        and not isinstance(after, nn.BatchNorm2d | nn.ReLU)
        and not place.endswith(ENDS.get(name, ()))
    ]
    assert bare == []
    assert isinstance(layers[-1][1], nn.Linear)


def test_a_residual_block_rectifies_the_sum_of_branch_and_shortcut():
    branch, shortcut = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)
    maps = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Residual(branch, shortcut)(maps), (branch(maps) + shortcut(maps)).clamp(min=0))


def test_zfnets_and_googlenets_response_normalisations_follow_their_figures():
    def before(name):
        layers = passed(on_meta(name), 3, 224, 224)
        return [
            (earlier, place)
            for (earlier, *_), (place, layer, _) in itertools.pairwise(layers)
            if isinstance(layer, LocalResponseNorm)
        ]

    assert before("zfnet") == [("pool1", "norm1"), ("pool2", "norm2")]
    assert before("googlenet") == [("trunk.pool1", "trunk.norm1"), ("trunk.relu2", "trunk.norm2")]
    assert before("vgg_a_lrn") == [("relu1_1", "norm1")]


def test_googlenets_auxiliary_heads_are_section_5s():
    network = on_meta("googlenet").train()
    kinds = [type(layer).__name__ for layer in network.auxiliary["inception_4a"]]
    assert kinds == ["AvgPool2d", "Conv2d", "ReLU", "Flatten", "Linear", "ReLU", "Dropout", "Linear"]
    assert list(network.auxiliary) == ["inception_4a", "inception_4d"]
    assert [head.weight for head in network(torch.empty(2, 3, 224, 224, device="meta"))] == [1.0, 0.3, 0.3]


def test_zfnets_figure_3():
    sides = [shape[0] for shape in shapes("zfnet", 224, VOLUMES[:2]).values()]
    assert sides == [110, 55, 26, 13, 13, 13, 13, 6]


def test_vggs_table_a_row_a_layer():
    """Of D: output volume, weights."""
    rows = [
        (shape[2:] + shape[1:2], layer.weight.numel() if hasattr(layer, "weight") else 0)
        for _, layer, shape in passed(on_meta("vgg_d"), 3, 224, 224)
        if isinstance(layer, VOLUMES)
    ]
    pools = [(112, 112, 64), (56, 56, 128), (28, 28, 256), (14, 14, 512), (7, 7, 512)]
    convolutions = [[1_728, 36_864], [73_728, 147_456], [294_912, 589_824, 589_824]]
    convolutions += [[1_179_648, 2_359_296, 2_359_296], [2_359_296] * 3]
    expected = []
    for (side, _, maps), weights in zip(pools, convolutions, strict=True):
        expected += [((2 * side, 2 * side, maps), weight) for weight in weights] + [((side, side, maps), 0)]
    assert rows == [*expected, ((4096,), 102_760_448), ((4096,), 16_777_216), ((1000,), 4_096_000)]


def test_vggs_columns_are_table_1():
    depths = {name: sum(len(column.replace("LRN", "").split()) for column in vgg) + 3 for name, vgg in TABLE.items()}
    assert depths == {"vgg_a": 11, "vgg_a_lrn": 11, "vgg_b": 13, "vgg_c": 16, "vgg_d": 16, "vgg_e": 19}
    pointwise = [
        name for name, layer in on_meta("vgg_c").named_children() if getattr(layer, "kernel_size", 0) == (1, 1)
    ]
    assert pointwise == ["conv3_3", "conv4_3", "conv5_3"]


def test_googlenets_table_1():
    trunk, out = on_meta("googlenet").trunk, {}
    for name, layer in trunk.named_children():
        layer.register_forward_hook(lambda _, __, maps, name=name: out.update({name: maps.shape}))
    multiply_adds(trunk, 3, 224, 224)
    sides = [out[name][2] for name in ("conv1", "pool1", "conv2", "pool2", "pool3", "pool4")]
    assert sides == [112, 56, 56, 28, 14, 7]
    maps = [shape[1] for name, shape in out.items() if name.startswith("inception")]
    assert maps == [256, 480, 512, 512, 512, 528, 832, 832, 1024]
