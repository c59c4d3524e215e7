"""What holds of every network, whatever its paper: at sizes that cost little."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, interpolate

import models
from models.classifier import Classifier
from models.heads import heads_of, main_logits
from tests.models.onnx_runtime import through_onnx

SMALL = {
    "alexnet": (67, {}),
    "alexnet_two_tower": (67, {}),
    "zfnet": (64, {}),
    "vgg_a_lrn": (32, {}),
    "vgg_c": (32, {"batch_norm": True}),
    "googlenet": (80, {}),
    "resnet18": (32, {}),
    "resnet50": (32, {}),
    "plain18": (32, {}),
    "resnet20": (16, {}),
    "fully_connected": (8, {"hidden": [24, 16], "dropout": 0.5}),
}
"""Each kind of layer and of block at least once: side in pixels, options."""


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="module", params=SMALL)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def network(name):
    return made(name)


def made(name, **changes):
    side, options = SMALL[name]
    torch.manual_seed(0)
    return models.create(name, 5, 3, side, **options | changes)


def images(name, count=2):
    side, _ = SMALL[name]
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def without_dropout(name):
    return {option: 0.0 for option in models.options(name) if option.endswith("dropout")}


def test_in_evaluation_a_network_gives_logits_and_nothing_random(name, network):
    network.eval()
    with torch.no_grad():
        logits = network(images(name))
        assert logits.shape == (2, 5)
        assert logits.isfinite().all()
        assert torch.equal(logits, network(images(name)))


def test_gradients_reach_every_parameter(name, network):
    network.train()
    network.zero_grad()
    loss = sum(cross_entropy(head.logits, torch.arange(8) % 5) for head in heads_of(network(images(name, 8))))
    loss.backward()
    without = [key for key, parameter in network.named_parameters() if not parameter.grad.abs().sum() > 0]
    assert without == []


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(name, network):
    again = made(name).state_dict()
    torch.manual_seed(1)
    side, options = SMALL[name]
    other = models.create(name, 5, 3, side, **options).state_dict()
    fresh = {key: value for key, value in network.state_dict().items() if "running" not in key and "num_" not in key}
    assert all(torch.equal(value, again[key]) for key, value in fresh.items())
    assert any(not torch.equal(value, other[key]) for key, value in fresh.items())


def test_exported_for_any_number_of_images_it_gives_what_it_gave(name, network):
    network.eval()
    batch = torch.export.Dim("batch")
    exported = torch.export.export(network, (images(name),), dynamic_shapes=({0: batch},)).module()
    with torch.no_grad():
        for count in (1, 3):
            given = images(name, count)
            torch.testing.assert_close(exported(given), network(given), rtol=1e-4, atol=1e-5)


def test_traced_for_torchscript_it_gives_what_it_gave(name, network):
    network.eval()
    with torch.no_grad():
        traced = torch.jit.trace(network, images(name), check_trace=False)
        given = images(name, 3)
        torch.testing.assert_close(traced(given), network(given), rtol=1e-4, atol=1e-5)


def test_as_onnx_it_gives_what_it_gave_for_any_number_of_images(name, network):
    network.eval()
    exported = through_onnx(network, images(name))
    with torch.no_grad():
        for count in (1, 3):
            given = images(name, count)
            torch.testing.assert_close(exported(given), network(given), rtol=1e-3, atol=1e-5)


def test_dropout_is_there_in_training_and_can_be_left_out(name):
    if not (without := without_dropout(name)):
        pytest.skip("the paper has none")
    given = images(name)
    with_dropout, none = made(name).train(), made(name, **without).train()
    with torch.no_grad():
        first, second = (heads_of(with_dropout(given)) for _ in range(2))
        assert all(not torch.equal(a.logits, b.logits) for a, b in zip(first, second, strict=True))
        first, second = (heads_of(none(given)) for _ in range(2))
        assert all(torch.equal(a.logits, b.logits) for a, b in zip(first, second, strict=True))


MEMORISED = {
    "lenet5": (32, {}, 0.01),
    "lenet5_modern": (32, {}, 0.005),
    "alexnet": (67, {}, 1e-4),
    "alexnet_two_tower": (67, {}, 1e-4),
    "zfnet": (64, {}, 1e-4),
    "vgg_c": (32, {"batch_norm": True}, 1e-4),
    "googlenet": (80, {}, 3e-4),
    "resnet18": (32, {}, 1e-3),
    "plain18": (32, {}, 1e-3),
    "resnet20": (16, {}, 1e-2),
    "fully_connected": (8, {"hidden": [24, 16]}, 1e-2),
}
"""Side in pixels, options, and Adam's learning rate."""
DRAWN_ANEW = ("alexnet", "alexnet_two_tower", "zfnet")
"""From N(0, 0.01^2) the logits of images of variance 1 differ by some 1e-5 at first, beside biases of 1, and 30 steps
teach them nothing. Here the layers are to learn, so their weights are drawn as He et al. 2015 do, with biases 0."""


@pytest.mark.parametrize("name", MEMORISED)
def test_sixteen_real_images_are_memorised(name):
    side, options, learning_rate = MEMORISED[name]
    given, labels = sixteen_digits(side)
    network = models.create(name, 10, 1, side, **options | without_dropout(name))
    if name in DRAWN_ANEW:
        draw_as_he(network)
    loss_of = Classifier(network, (0.0,), (1.0,)).loss
    optimizer = torch.optim.Adam(network.parameters(), learning_rate)
    for _ in range(120):
        heads = heads_of(network(given))
        losses = [loss_of(head.logits, labels, label_smoothing=0.0) for head in heads]
        if losses[0] < 0.1 and (main_logits(heads).argmax(1) == labels).all():
            return
        optimizer.zero_grad()
        sum(head.weight * loss for head, loss in zip(heads, losses, strict=True)).backward()
        optimizer.step()
    pytest.fail(f"after 120 steps the loss is {losses[0]:.3f}")


def sixteen_digits(side):
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = torch.from_numpy(digits.images[:16]).float()[:, None] / 8 - 1
    return interpolate(pixels, (side, side), mode="bilinear"), torch.from_numpy(digits.target[:16])


def draw_as_he(network):
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
