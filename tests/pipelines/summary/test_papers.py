"""The papers' and the lectures' tables, as the summary prints them."""

import functools
import re

import pytest

import models
from pipelines.summary.inputs import usual_input
from pipelines.summary.summary import summarize_named
from pipelines.summary.table import layers_table, rounded


@functools.cache
def summary(name, classes=None, **options):
    return summarize_named(name, 2, usual_input(name).changed(None, None, classes), options)


def rows(name):
    return summary(name).rows


@pytest.mark.parametrize(
    ("name", "parameters", "multiply_adds", "depth"),
    [
        ("lenet5_modern", 61_706, None, 5),
        ("alexnet_two_tower", 60_965_224, 724_406_816, 8),
        ("alexnet", 62_378_344, 1_135_256_096, 8),
        ("zfnet", 62_357_608, 1_168_032_896, 8),
        ("zfnet_large", 107_627_624, 2_476_704_896, 8),
        ("vgg_a", 132_863_336, 7_609_090_048, 11),
        ("vgg_a_lrn", 132_863_336, 7_609_090_048, 11),
        ("vgg_b", 133_047_848, 11_308_466_176, 13),
        ("vgg_c", 133_638_952, 11_770_888_192, 16),
        ("vgg_d", 138_357_544, 15_470_264_320, 16),
        ("vgg_e", 143_667_240, 19_632_062_464, 19),
        ("googlenet", 6_998_552, 1_582_671_872, 22),
        ("resnet18", 11_689_512, 1_814_073_344, 18),
        ("resnet34", 21_797_672, 3_663_761_408, 34),
        ("resnet50", 25_557_032, 4_089_184_256, 50),
        ("resnet101", 44_549_160, 7_801_405_440, 101),
        ("resnet152", 60_192_808, 11_513_626_624, 152),
        ("plain34", None, None, 34),
        ("resnet20", None, None, 20),
        ("resnet110", None, None, 110),
    ],
)
def test_totals_are_the_papers(name, parameters, multiply_adds, depth):
    found = summary(name)
    assert found.depth == depth
    assert parameters in (None, found.parameters)
    assert multiply_adds in (None, found.multiply_adds)


def test_googlenets_auxiliary_heads_count_in_training_only():
    found = summary("googlenet")
    assert found.trained_parameters == 13_378_280
    convolutions_of_both_heads = 4 * 4 * 128 * (512 + 528)
    assert found.multiply_adds + convolutions_of_both_heads == 1_584_801_792


VGG_D = """
INPUT     224x224x3   150K 0
CONV3-64  224x224x64  3.2M 1,728
CONV3-64  224x224x64  3.2M 36,864
POOL2     112x112x64  800K 0
CONV3-128 112x112x128 1.6M 73,728
CONV3-128 112x112x128 1.6M 147,456
POOL2     56x56x128   400K 0
CONV3-256 56x56x256   800K 294,912
CONV3-256 56x56x256   800K 589,824
CONV3-256 56x56x256   800K 589,824
POOL2     28x28x256   200K 0
CONV3-512 28x28x512   400K 1,179,648
CONV3-512 28x28x512   400K 2,359,296
CONV3-512 28x28x512   400K 2,359,296
POOL2     14x14x512   100K 0
CONV3-512 14x14x512   100K 2,359,296
CONV3-512 14x14x512   100K 2,359,296
CONV3-512 14x14x512   100K 2,359,296
POOL2     7x7x512     25K  0
FC 4096   1x1x4096    4.1K 102,760,448
FC 4096   1x1x4096    4.1K 16,777,216
FC 1000   1x1x1000    1K   4,096,000
"""


def test_vggs_table_is_printed_as_it_is_taught():
    table = layers_table(summary("vgg_d"))
    columns = [table.headings.index(name) for name in ("layer", "volume", "about", "weights")]
    printed = [[line[column] for column in columns] for line in table.lines[:-1]]
    taught = [re.split(r"(?<!FC) +", line) for line in VGG_D.strip().split("\n")]
    assert [[*cells[:3], f"{cells[3]:,}"] for cells in printed] == taught
    lines = table.text().split("\n")[3:]
    for line, cells in zip(lines, taught, strict=False):
        assert re.search(r"\s.*\s".join(map(re.escape, cells)), line)


def test_alexnets_volumes_are_printed_as_they_are_taught():
    taught = [
        ("INPUT", "", (227, 227, 3)),
        ("CONV11-96", "11x11, stride 4", (55, 55, 96)),
        ("POOL3", "3x3, stride 2", (27, 27, 96)),
        ("NORM", "", (27, 27, 96)),
        ("CONV5-256", "5x5, pad 2", (27, 27, 256)),
        ("POOL3", "3x3, stride 2", (13, 13, 256)),
        ("NORM", "", (13, 13, 256)),
        ("CONV3-384", "3x3, pad 1", (13, 13, 384)),
        ("CONV3-384", "3x3, pad 1", (13, 13, 384)),
        ("CONV3-256", "3x3, pad 1", (13, 13, 256)),
        ("POOL3", "3x3, stride 2", (6, 6, 256)),
        ("FC 4096", "", (1, 1, 4096)),
        ("FC 4096", "", (1, 1, 4096)),
        ("FC 1000", "", (1, 1, 1000)),
    ]
    assert [(row.label, row.filter, row.volume) for row in rows("alexnet")] == taught


def test_alexnets_first_layer_has_35_thousand_weights():
    assert rows("alexnet")[1].weights == 11 * 11 * 3 * 96
    assert rounded(rows("alexnet")[1].weights) == "35K"


PER_LAYER = {
    "alexnet_two_tower": [34_944, 307_456, 885_120, 663_936, 442_624, 37_752_832, 16_781_312, 4_097_000],
    "alexnet": [34_944, 614_656, 885_120, 1_327_488, 884_992, 37_752_832, 16_781_312, 4_097_000],
    "zfnet": [14_208, 614_656, 885_120, 1_327_488, 884_992, 37_752_832, 16_781_312, 4_097_000],
    "lenet5_modern": [156, 2_416, 48_120, 10_164, 850],
    "lenet5": [156, 12, 1_516, 32, 48_120, 10_164],
}


@pytest.mark.parametrize("name", [name for name in PER_LAYER if name in models.names()])
def test_parameters_of_each_layer_are_the_papers(name):
    assert [row.weights + row.biases for row in rows(name) if row.weights] == PER_LAYER[name]


def test_zfnets_maps_shrink_as_in_its_figure():
    heights = [row.volume[0] for row in rows("zfnet")[1:]]
    assert list(dict.fromkeys(heights)) == [110, 55, 26, 13, 6, 1]


def test_a_net_without_convolutions_has_three_squares_of_its_pixels_and_one_line_more():
    assert summary("fully_connected", bias=False).parameters == 3 * 1024 * 1024 + 1024


@pytest.mark.parametrize(
    ("name", "module", "size", "stride"),
    [
        ("alexnet", "pool5", 195, 32),
        ("alexnet", "fc6", 355, 32),
        ("vgg_d", "pool5", 212, 32),
        ("vgg_d", "fc6", 404, 32),
        ("resnet50", "conv5_x.2", 427, 32),
    ],
)
def test_receptive_fields_are_those_worked_out_by_hand(name, module, size, stride):
    row = next(row for row in rows(name) if row.module == module)
    assert [(field.size, field.stride) for field in row.fields] == [(size, stride)] * 2


def test_alexnet_at_the_papers_224_pixels_is_told_apart_from_the_55_of_its_text():
    given = usual_input("alexnet").changed(224, None, None)
    rule = summarize_named("alexnet", 2, given, {}).rules()[0]
    assert rule.startswith("conv1 (CONV11-96): (224 - 11 + 2*0)/4 + 1 = 54.25 is not whole; rounded down to 54")
    assert summary("alexnet").rules() == []


def test_batch_normalisation_adds_two_numbers_a_channel_and_no_multiply_adds():
    plain, normalised = summary("vgg_a"), summary("vgg_a", batch_norm=True)
    channels = 64 + 128 + 2 * 256 + 4 * 512
    assert normalised.parameters - plain.parameters == 2 * channels
    assert normalised.multiply_adds == plain.multiply_adds


@pytest.mark.parametrize("name", models.names())
def test_every_network_is_summarized_to_its_last_parameter(name):
    found = summary(name)
    assert found.rows[-1].volume == (1, 1, found.input.classes)
    if name != "googlenet":
        assert found.parameters == found.trained_parameters
    assert found.kept_bytes > 0
