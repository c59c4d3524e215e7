"""The whole report, on small networks and on every family of ours."""

import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

import models
from pipelines.config import InputError, VisualizeSettings
from pipelines.visualization.deconvnet import project
from pipelines.visualization.layers import choose_layers, layers_of, outputs_of
from pipelines.visualization.receptive_field import receptive_fields
from pipelines.visualization.report import Report
from tests.pipelines.visualization.networks import Graph, batches, black_images, blob_finder, classifier

IMAGES = black_images((14, 3), (3, 14), (0, 0), (8, 8))
LABELS = torch.tensor([0, 1, 0, 1])


def report(network, pixels=IMAGES, **settings):
    names = [f"class {number}" for number in range(5)]
    settings = VisualizeSettings(run="a run", dataset="a dataset", **settings)
    return Report(classifier(network), lambda: batches(pixels, 3, LABELS), names, settings)


def test_every_kind_of_picture_is_drawn():
    drawn = dict(report(blob_finder(), images=(0, "image-3")).draw())
    assert list(drawn) == [
        "filters", "feature_maps-image0", "feature_maps-image1", "saliency", "occlusion", "strongest-relu"
    ]  # fmt: skip
    assert all(isinstance(figure, Figure) for figure in drawn.values())


def test_titles_say_label_and_answer():
    figure = dict(report(blob_finder(), images=(3,)).draw())["saliency"]
    assert figure.axes[0].get_title().startswith("label: class 1\nanswer: class 0 (")


def test_maps_that_nothing_excites_are_shown_only_where_they_are_asked_for():
    figure = dict(report(blob_finder(), images=(0,)).draw())["strongest-relu"]
    assert [panel.get_suptitle() for panel in figure.subfigs] == ["map 0, activations 23 to 23"]
    figure = dict(report(blob_finder(), images=(0,), maps=(1, 0)).draw())["strongest-relu"]
    assert [panel.get_suptitle() for panel in figure.subfigs] == ["map 1, never active", "map 0, activations 23 to 23"]


def test_a_graph_over_three_channels_is_drawn():
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (4, 24, 24, 3), dtype=torch.uint8)
    assert "strongest-relu" in dict(report(Graph(), pixels, images=(0, 1)).draw())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": ("relu2",)}, "no layer 'relu2'"),
        ({"maps": (2,)}, "layer relu has no feature map 2"),
        ({"images": (0, 4, "image-9")}, "no validation image 4, 'image-9'; give keys, or places from 0 to 3"),
        ({"occluder_size": 25}, "occluder_size = 25: the images' shorter side is 24 pixels"),
        ({"occluder_stride": 25}, "occluder_stride = 25: the images' shorter side is 24 pixels"),
    ],
)
def test_what_is_not_there_is_refused_before_the_first_picture(settings, message):
    with pytest.raises(InputError, match=message):
        next(report(blob_finder(), **settings).draw())


SIDES = {
    "lenet5_modern": 32,
    "alexnet": 99,
    "alexnet_two_tower": 99,
    "zfnet": 99,
    "vgg_a_lrn": 32,
    "vgg_c": 32,
    "googlenet": 96,
    "resnet18": 64,
    "resnet50": 64,
    "plain18": 64,
    "resnet20": 32,
    "fully_connected": 32,
}


@pytest.mark.parametrize("name", SIDES)
def test_a_projection_lies_within_the_receptive_field_in_every_family(name):
    torch.manual_seed(0)
    network = models.create(name, 5, 3, SIDES[name]).eval()
    image = torch.randn(1, 3, SIDES[name], SIDES[name])
    for layer in choose_layers(layers_of(network, image), ()):
        with outputs_of(network, [layer.name]) as outputs, torch.no_grad():
            network(image)
        at = int(outputs[layer.name][0].argmax())
        number, row, column = at // (layer.height * layer.width), at // layer.width % layer.height, at % layer.width
        where = torch.tensor([[row, column]])
        projection = project(network, image, layer.name, torch.tensor([number]), where)[0]
        top, left, bottom, right = receptive_fields(network, image.shape[1:], layer.name, where)[0].tolist()
        inside = torch.zeros(image.shape[2:], dtype=torch.bool)
        inside[top:bottom, left:right] = True
        assert projection[:, inside].abs().max() > 0
        assert projection[:, ~inside].abs().sum() == 0


def test_a_network_of_units_alone_is_drawn():
    network = nn.Sequential(nn.Flatten(), nn.Linear(24 * 24, 4), nn.ReLU(), nn.Linear(4, 5))
    torch.manual_seed(0)
    assert list(dict(report(network, images=(0,)).draw()))[-1] == "strongest-3"
