import io

import numpy as np
import pytest
from PIL import Image

import models
from pipelines.summary.figures import draw_layers, draw_revolution
from pipelines.summary.inputs import usual_input
from pipelines.summary.published import PUBLISHED, plainest
from pipelines.summary.revolution import compare, comparison_table, published_table
from pipelines.summary.summary import summarize_named


@pytest.fixture(scope="module")
def compared():
    return compare()


@pytest.mark.parametrize(
    ("network", "protocol", "top1", "top5"),
    [
        ("alexnet_two_tower", "1 net", 40.7, 18.2),
        ("alexnet_two_tower", "5 nets", 38.1, 16.4),
        ("zfnet_large", "1 net", 37.5, 16.0),
        ("vgg_a", "one scale", 29.6, 10.4),
        ("vgg_a_lrn", "one scale", 29.7, 10.5),
        ("vgg_b", "one scale", 28.7, 9.9),
        ("vgg_c", "one scale", 27.3, 8.8),
        ("vgg_d", "one scale", 25.6, 8.1),
        ("vgg_e", "one scale", 25.5, 8.0),
        ("vgg_d", "dense and multi-crop", 24.4, 7.2),
        ("vgg_e", "dense and multi-crop", 24.4, 7.1),
        ("googlenet", "1 crop", None, 10.07),
        ("googlenet", "7 nets, 144 crops", None, 6.67),
        ("resnet34", "10 crops", 24.52, 7.46),
        ("resnet50", "10 crops", 22.85, 6.71),
        ("resnet101", "10 crops", 21.75, 6.05),
        ("resnet152", "10 crops", 21.43, 5.71),
        ("resnet18", "centre crop", 30.24, 10.92),
        ("resnet50", "centre crop", 23.85, 7.13),
        ("vgg_d", "centre crop", 28.41, 9.62),
    ],
)
def test_published_errors_are_those_of_the_papers(network, protocol, top1, top5):
    (entry,) = [entry for entry in PUBLISHED if (entry.network, entry.protocol) == (network, protocol)]
    assert (entry.top1, entry.top5) == (top1, top5)
    assert entry.source


def test_a_comparison_shows_every_network_with_its_plainest_error(compared):
    table = comparison_table(compared)
    lines = {line[0]: dict(zip(table.headings, line, strict=True)) for line in table.lines}
    assert list(lines) == models.names()
    assert lines["vgg_d"]["layers"] == 16
    assert lines["vgg_d"]["parameters"] == 138_357_544
    assert lines["vgg_d"]["multiply-adds"] == 15_470_264_320
    assert (lines["vgg_d"]["top-5 %"], lines["vgg_d"]["tested with"]) == (8.1, "one scale")
    assert lines["plain34"]["top-5 %"] is None
    assert any("as published" in note and "not measured here" in note for note in table.notes)


def test_every_network_with_an_error_is_one_of_ours_or_an_ensemble_or_still_to_come():
    known = {*models.names(), "vgg_d + vgg_e", "lenet5"}
    assert {entry.network for entry in PUBLISHED} <= known
    assert len(published_table().lines) == len(PUBLISHED)
    assert plainest("plain18") is None


def test_the_revolution_is_a_picture_of_the_networks_for_imagenet(compared):
    figure = draw_revolution(compared)
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == [network.name for network in compared if network.classes == 1000]
    texts = {text.get_text() for axes in figure.axes for text in axes.texts}
    assert {"152", "138M", "15.5G", "18.2", "10 crops", "centre crop, torchvision"} <= texts
    assert figure.axes[3].get_title(loc="left") == "top-5 error, %, as published"
    assert is_drawn(figure)


def test_a_network_is_a_picture_with_a_bar_a_layer():
    summary = summarize_named("vgg_a_lrn", 2, usual_input("vgg_a_lrn"), {})
    figure = draw_layers(summary)
    told = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert "conv1_1  CONV3-64     224x224x64" in told
    assert not any("NORM" in label for label in told)
    assert is_drawn(figure)


def is_drawn(figure):
    """Not blank, and nothing said of glyphs or layout, which pytest makes errors."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=50)
    return np.asarray(Image.open(file).convert("L")).std() > 10
