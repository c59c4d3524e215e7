import hashlib

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d, cross_entropy

import models
from models.classifier import Classifier
from models.lenet import PartialConvolution, Squash, Subsampling
from tests.models.onnx_runtime import through_onnx

NAMES = ["lenet5", "lenet5_modern"]
PUBLISHED = {"c1": 156, "s2": 12, "c3": 1_516, "s4": 32, "c5": 48_120, "f6": 10_164}
CONNECTIONS = {"c1": 122_304, "s2": 5_880, "c3": 151_600, "s4": 2_000, "c5": 48_120, "f6": 10_164, "output": 840}


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def create(name="lenet5", classes=10, channels=1, **options):
    return models.create(name, num_classes=classes, in_channels=channels, **options)


def parameters_by_layer(network):
    by_layer = {name: sum(p.numel() for p in layer.parameters()) for name, layer in network.named_children()}
    return {name: count for name, count in by_layer.items() if count}


@pytest.mark.parametrize("competition", [False, True])
def test_trainable_parameters_are_the_papers_60_000(competition):
    assert parameters_by_layer(create(competition=competition)) == PUBLISHED
    assert sum(PUBLISHED.values()) == 60_000


def test_connections_are_the_papers_340_908():
    """A unit's connections, its bias among them, are what its output changes with; those of a map are alike."""
    network, x, connections = create(), torch.randn(1, 1, 32, 32), {}
    for name, layer in network.named_children():
        made = layer(x)
        if name in CONNECTIONS:
            connections[name] = sum(fan_in(layer, x, unit) * made[0, unit].numel() for unit in range(made.shape[1]))
        x = made.detach()
    assert connections == CONNECTIONS
    assert sum(connections.values()) == 340_908


def fan_in(layer, x, unit):
    """How many inputs and biases the first place of the output map `unit` hangs on."""
    x = x.clone().requires_grad_()
    layer.zero_grad()
    made = layer(x)
    made[0, unit].flatten()[0].backward()
    biases = int((layer.bias.grad != 0).sum()) if hasattr(layer, "bias") else 0
    return int((x.grad != 0).sum()) + biases


def test_parameters_of_the_modern_form_are_those_of_the_paper_with_a_full_c3_and_a_linear_output():
    counts = parameters_by_layer(create("lenet5_modern"))
    assert counts == {"c1": 156, "c3": 2_416, "c5": 48_120, "f6": 10_164, "output": 850}
    assert sum(counts.values()) == 61_706


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("classes", "channels"), [(10, 1), (7, 3)])
def test_scores_have_a_column_a_class_for_any_channels(name, classes, channels):
    assert create(name, classes, channels)(torch.zeros(5, channels, 32, 32)).shape == (5, classes)


@pytest.mark.parametrize(
    ("name", "options"), [("lenet5", {}), ("lenet5", {"competition": True}), ("lenet5_modern", {})]
)
def test_gradients_reach_every_parameter(name, options):
    network = create(name, **options)
    loss = Classifier(network, (0.1,), (0.3,)).loss
    loss(network(torch.randn(8, 1, 32, 32)), torch.arange(8), label_smoothing=0.0).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in network.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_weights_belong_to_their_seed(name):
    torch.manual_seed(3)
    once = create(name).state_dict()
    torch.manual_seed(3)
    again = create(name).state_dict()
    torch.testing.assert_close(once, again, rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_scripted_and_exported_it_gives_the_same_scores(name):
    network, images = create(name).eval(), torch.randn(4, 1, 32, 32)
    expected = network(images)
    torch.testing.assert_close(torch.jit.trace(network, images)(images), expected)
    torch.testing.assert_close(torch.export.export(network, (images,)).module()(images), expected)


@pytest.mark.parametrize("name", NAMES)
def test_as_onnx_it_gives_the_same_scores_for_any_number_of_images(name):
    network = create(name).eval()
    exported = through_onnx(network, torch.randn(2, 1, 32, 32))
    for images in (torch.randn(1, 1, 32, 32), torch.randn(3, 1, 32, 32)):
        torch.testing.assert_close(exported(images), network(images).detach(), rtol=1e-3, atol=1e-5)


def test_an_unknown_network_is_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match=r"no such network; there are .*lenet5_modern"):
        create("lenet6")


# --- the published layers -----------------------------------------------------------------------


def test_the_squashing_function_has_the_papers_fixed_points_and_bounds():
    squashed = Squash()(torch.tensor([-1.0, 0.0, 1.0, 50.0]))
    torch.testing.assert_close(squashed, torch.tensor([-1.0, 0.0, 1.0, 1.7159]), rtol=0, atol=1e-5)


def test_subsampling_scales_the_sum_of_four_pixels_and_adds_a_bias():
    layer, x = Subsampling(3), torch.randn(2, 3, 6, 4)
    weight, bias = layer.weight.flatten().tolist(), layer.bias.flatten().tolist()
    made = layer(x).detach()
    assert made.shape == (2, 3, 3, 2)
    for n, map_, row, column in np.ndindex(*made.shape):
        square = x[n, map_, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        assert float(made[n, map_, row, column]) == pytest.approx(
            weight[map_] * float(square.sum()) + bias[map_], abs=1e-5
        )


TABLE_I = [
    "X...XXX..XXXX.XX",
    "XX...XXX..XXXX.X",
    "XXX...XXX..X.XXX",
    ".XXX..XXXX..X.XX",
    "..XXX..XXXX.XX.X",
    "...XXX..XXXX.XXX",
]
"""A row a map of S2, a column a map of C3."""


def test_c3_sees_the_maps_that_table_i_says():
    layer, x = create().c3, torch.randn(1, 6, 5, 5, requires_grad=True)
    seen = [torch.autograd.grad(layer(x)[0, map_, 0, 0], x)[0][0].abs().sum((1, 2)) > 0 for map_ in range(16)]
    assert ["".join("X" if seen[to][from_] else "." for to in range(16)) for from_ in range(6)] == TABLE_I


def test_a_partial_convolution_is_the_sum_over_the_maps_that_are_seen():
    layer, x = PartialConvolution(((0, 2), (1,)), 3), torch.randn(1, 3, 5, 5)
    made = layer(x).detach()
    first = conv2d(x[:, 0:1], layer.weight[None, 0:1]) + conv2d(x[:, 2:3], layer.weight[None, 1:2]) + layer.bias[0]
    second = conv2d(x[:, 1:2], layer.weight[None, 2:3]) + layer.bias[1]
    torch.testing.assert_close(made, torch.cat([first, second], 1).detach())


@pytest.mark.parametrize(
    ("layer", "inputs"), [("c1", 25), ("s2", 4), ("s4", 4), ("c5", 400), ("f6", 120)], ids=lambda value: str(value)
)
def test_weights_start_within_the_papers_range_for_their_number_of_inputs(layer, inputs):
    weights = torch.cat([p.detach().flatten() for _ in range(20) for p in create().get_submodule(layer).parameters()])
    assert 0.9 * 2.4 / inputs < float(weights.abs().max()) <= 2.4 / inputs
    assert abs(float(weights.mean())) < 0.2 * 2.4 / inputs


def test_weights_of_c3_start_by_the_inputs_of_their_own_map():
    weight = torch.stack([create().c3.weight.detach().abs().amax((1, 2)) for _ in range(20)]).amax(0)
    for kernels, inputs in ((slice(0, 18), 75), (slice(18, 54), 100), (slice(54, 60), 150)):
        assert ((weight[kernels] > 0.9 * 2.4 / inputs) & (weight[kernels] <= 2.4 / inputs)).all()


# --- its output and its losses ------------------------------------------------------------------


def penalties(network, images):
    """Eq. 7, unit by unit."""
    at_f6 = network[:-1](images).detach().double().numpy()
    codes = network.output.codes.double().numpy()
    return np.array([[sum((x - w) ** 2 for x, w in zip(row, code, strict=True)) for code in codes] for row in at_f6])


def test_scores_are_minus_the_squared_distances_to_the_codes():
    network, images = create(), torch.randn(3, 1, 32, 32)
    np.testing.assert_allclose(-network(images).detach().numpy(), penalties(network, images), rtol=1e-5)


LABELS = [3, 0, 9, 3]


def test_the_loss_is_the_mean_penalty_of_the_label():
    network, images = create(), torch.randn(4, 1, 32, 32)
    y = penalties(network, images)
    expected = sum(y[row, label] for row, label in enumerate(LABELS)) / 4
    assert network.loss(network(images), torch.tensor(LABELS)).item() == pytest.approx(expected, rel=1e-5)


def test_the_map_loss_adds_the_competition_of_all_classes_and_the_rubbish_class():
    network, scores = create(competition=True), -20 * torch.rand(4, 10)
    expected = 0.0
    for row, label in enumerate(LABELS):
        y = -scores[row].double().numpy()
        expected += (y[label] + np.log(np.exp(-10.0) + np.exp(-y).sum())) / 4
    assert float(network.loss(scores, torch.tensor(LABELS))) == pytest.approx(expected, rel=1e-5)
    assert expected > 0


def test_competition_pushes_other_classes_away_which_the_mean_squared_error_does_not():
    for pushes in (False, True):
        scores = (-5 * torch.rand(4, 10)).requires_grad_()
        create(competition=pushes).loss(scores, torch.tensor(LABELS)).backward()
        others = scores.grad.clone()
        others[range(4), LABELS] = 0
        assert bool((others > 0).any()) == pushes
        assert not (others < 0).any()


def test_a_smoothed_label_pulls_to_all_codes_evenly():
    network, scores = create(), -20 * torch.rand(4, 10)
    labels = torch.tensor(LABELS)
    of_all = sum(network.loss(scores, torch.full((4,), label)) for label in range(10)) / 10
    expected = 0.8 * network.loss(scores, labels) + 0.2 * of_all
    torch.testing.assert_close(network.loss(scores, labels, label_smoothing=0.2), expected)


def test_the_codes_of_ten_classes_are_pictures_that_stay_as_they_are():
    network = create()
    codes = network.output.codes
    assert codes.shape == (10, 84)
    assert set(codes.unique().tolist()) == {-1.0, 1.0}
    one = ["".join("#" if dot > 0 else "." for dot in row) for row in codes[1].view(12, 7)]
    assert one[:4] == ["...##..", "..###..", ".####..", "##.##.."]
    assert hashlib.sha256((codes > 0).numpy().tobytes()).hexdigest()[:16] == "e3bf5968f2e62b52"
    assert "output.codes" in network.state_dict()
    assert "output.codes" not in dict(network.named_parameters())


@pytest.mark.parametrize("classes", [2, 10, 11, 200])
def test_the_codes_of_any_number_of_classes_are_apart_and_the_same_every_time(classes):
    torch.manual_seed(1)
    codes = create(classes=classes).output.codes
    torch.manual_seed(2)
    assert torch.equal(codes, create(classes=classes).output.codes)
    differing = (codes[:, None] != codes).sum(2) + 84 * torch.eye(classes)
    assert differing.min() >= 12


def test_a_classifier_learns_by_its_networks_loss_or_by_cross_entropy():
    scores, labels = -torch.rand(4, 10), torch.tensor(LABELS)
    published, modern = (Classifier(create(name), (0.1,), (0.3,)) for name in ("lenet5", "lenet5_modern"))
    assert float(published.loss(scores, labels, label_smoothing=0.0)) == float(published.network.loss(scores, labels))
    assert modern.loss is cross_entropy


def test_larger_images_than_the_papers_are_refused():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        create()(torch.zeros(1, 1, 40, 40))
