from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from pipelines.config import OptimizerSettings
from pipelines.training.optimization import load_state, make_clip, make_optimizer
from pipelines.training.precision import Precision, allow_tf32

IMAGES, LABELS = torch.linspace(-1, 1, 12).view(4, 3), torch.tensor([0, 1, 1, 0])


def made():
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    return model, SGD(model.parameters(), lr=1.0)


def backward(precision, model):
    with precision.autocast():
        logits = model(IMAGES)
        loss = cross_entropy(logits, LABELS)
    precision.scaled(loss).backward()
    return logits, loss


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("float32", torch.float32), ("bfloat16", torch.bfloat16), ("float16", torch.float16)],
)
def test_products_have_the_type_asked_for_and_losses_weights_and_gradients_are_float32(kind, dtype):
    model, _ = made()
    logits, loss = backward(Precision(kind, "cpu"), model)
    assert logits.dtype == dtype
    assert loss.dtype == model.weight.dtype == model.weight.grad.dtype == torch.float32


@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
def test_a_step_is_about_the_one_of_float32(kind):
    (model, optimizer), (plain, plain_optimizer) = made(), made()
    precision = Precision(kind, "cpu")
    backward(precision, model)
    precision.unscale(optimizer)
    precision.step(optimizer)
    backward(Precision("float32", "cpu"), plain)
    plain_optimizer.step()
    torch.testing.assert_close(model.state_dict(), plain.state_dict(), rtol=0.02, atol=0.005)
    assert not torch.equal(model.weight, plain.weight)


def test_the_scale_of_float16_keeps_gradients_that_would_be_0():
    gradients = {}
    for scale in (1.0, 2.0**15):
        model, optimizer = made()
        precision = Precision("float16", "cpu", scale)
        with precision.autocast():
            loss = (model(IMAGES) * 1e-8).float().sum()
        precision.scaled(loss).backward()
        precision.unscale(optimizer)
        gradients[scale] = model.bias.grad
    assert not gradients[1.0].any()
    torch.testing.assert_close(gradients[2.0**15], torch.full((2,), 4e-8), rtol=0.01, atol=0)


def test_an_overflow_leaves_the_step_out_and_halves_the_scale():
    model, optimizer = made()
    before = model.weight.detach().clone()
    precision = Precision("float16", "cpu", 2.0**30)
    for exponent in (29, 28):
        optimizer.zero_grad()
        backward(precision, model)
        precision.unscale(optimizer)
        precision.step(optimizer)
        assert torch.equal(model.weight, before)
        assert precision.state_dict()["scale"] == 2.0**exponent


OPTIMIZERS = [{"kind": "sgd", "momentum": 0.9}, {"kind": "adamw"}, {"kind": "lars"}, {"kind": "alexnet"}]


def stepped(settings, scales, state=None):
    """The weights after a step with each of these scales of the loss."""
    model, _ = made()
    optimizer = make_optimizer(model, OptimizerSettings(**settings, lr=0.1))
    if state is not None:
        load_state(optimizer, deepcopy(state))
    for scale in scales:
        precision = Precision("float16", "cpu", scale)
        optimizer.zero_grad()
        backward(precision, model)
        precision.unscale(optimizer)
        precision.step(optimizer)
    return model.state_dict(), optimizer.state_dict()


@pytest.mark.parametrize("settings", OPTIMIZERS, ids=lambda settings: settings["kind"])
def test_an_overflow_in_the_first_step_is_not_in_those_that_follow(settings):
    overflow = 2.0**30
    after, _ = stepped(settings, [overflow, 1.0, 1.0])
    expected, _ = stepped(settings, [1.0, 1.0])
    assert not torch.equal(expected["weight"], made()[0].weight)
    torch.testing.assert_close(after, expected)


@pytest.mark.parametrize("settings", OPTIMIZERS[:2], ids=lambda settings: settings["kind"])
def test_what_an_optimizer_saved_that_was_not_fused_is_gone_on_from(settings):
    _, state = stepped(settings, [1.0])
    expected, _ = stepped(settings, [1.0], state)
    for group in state["param_groups"]:
        group["fused"] = None
    torch.testing.assert_close(stepped(settings, [1.0], state)[0], expected)


def test_clipping_sees_gradients_that_are_not_scaled():
    model, optimizer = made()
    precision = Precision("float16", "cpu")
    backward(precision, model)
    precision.unscale(optimizer)
    (expected,) = torch.autograd.grad(cross_entropy(model(IMAGES), LABELS), [model.weight])
    torch.testing.assert_close(model.weight.grad, expected, rtol=0.02, atol=1e-3)
    make_clip(10.0)(model.parameters())
    torch.testing.assert_close(model.weight.grad, expected, rtol=0.02, atol=1e-3)


def test_a_scale_that_was_saved_comes_back():
    precision, again = Precision("float16", "cpu", 2.0**5), Precision("float16", "cpu")
    again.load_state_dict(precision.state_dict())
    assert again.state_dict() == precision.state_dict()
    assert Precision("float32", "cpu").state_dict() == {}


@pytest.mark.parametrize("allowed", [False, True])
def test_tf32_is_as_wanted_for_convolutions_and_for_products(allowed):
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    allow_tf32(allowed)
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (allowed, allowed)
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
