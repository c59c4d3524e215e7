import pytest
import torch
from torch import nn
from torch.optim import SGD

import models
from pipelines.config import OptimizerSettings
from pipelines.training.optimization import make_clip, make_optimizer, set_lr

KINDS = ("sgd", "alexnet", "lars", "adamw")


def test_sgd_is_set_up_as_asked():
    optimizer = make_optimizer(
        nn.Linear(2, 2), OptimizerSettings(lr=0.3, momentum=0.8, weight_decay=0.1, nesterov=True)
    )
    set_lr(optimizer, 0.05)
    (group,) = optimizer.param_groups
    assert {key: group[key] for key in ("lr", "momentum", "weight_decay", "nesterov")} == {
        "lr": 0.05,
        "momentum": 0.8,
        "weight_decay": 0.1,
        "nesterov": True,
    }


def test_adamw_is_set_up_as_asked():
    settings = OptimizerSettings(kind="adamw", lr=0.3, momentum=0.8, beta2=0.95, weight_decay=0.1)
    (group,) = make_optimizer(nn.Linear(2, 2), settings).param_groups
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.3, (0.8, 0.95), 0.1)
    assert group["decoupled_weight_decay"]


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, 2))


def steps(model, optimizer, rates):
    """Gradients drawn anew for each step, the same for every model of that shape."""
    draws = torch.Generator().manual_seed(1)
    for rate in rates:
        set_lr(optimizer, rate)
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=draws)
        optimizer.step()
    return model.state_dict()


def test_alexnets_form_is_the_papers_line_by_line():
    model, expected = network(), network()
    optimizer = make_optimizer(model, OptimizerSettings(kind="alexnet", momentum=0.9, weight_decay=0.0005))
    draws = torch.Generator().manual_seed(1)
    velocities = [torch.zeros_like(w) for w in expected.parameters()]
    for rate in (0.1, 0.1, 0.01):
        for w, v in zip(expected.parameters(), velocities, strict=True):
            gradient = torch.randn(w.shape, generator=draws)
            v.copy_(0.9 * v - 0.0005 * rate * w.data - rate * gradient)
            w.data += v
    torch.testing.assert_close(steps(model, optimizer, (0.1, 0.1, 0.01)), expected.state_dict())


def test_alexnets_form_is_sgd_until_the_learning_rate_changes():
    def end(kind, rates):
        model = network()
        return steps(model, make_optimizer(model, OptimizerSettings(kind=kind)), rates)

    torch.testing.assert_close(end("alexnet", (0.1, 0.1, 0.1)), end("sgd", (0.1, 0.1, 0.1)))
    with pytest.raises(AssertionError):
        torch.testing.assert_close(end("alexnet", (0.1, 0.1, 0.01)), end("sgd", (0.1, 0.1, 0.01)))


def test_lars_gives_each_layer_a_rate_of_its_own_but_biases_and_norms_the_global_one():
    model, expected = network(), network()
    optimizer = make_optimizer(model, OptimizerSettings(kind="lars", weight_decay=0.01, trust_coefficient=0.02))
    draws = torch.Generator().manual_seed(1)
    velocities = [torch.zeros_like(w) for w in expected.parameters()]
    for rate in (3.0, 1.0):
        for (name, w), v in zip(expected.named_parameters(), velocities, strict=True):
            gradient = torch.randn(w.shape, generator=draws)
            local = 0.02 * w.norm() / (gradient.norm() + 0.01 * w.norm())
            local = local.item() if name in ("0.weight", "3.weight") else 1.0
            v.copy_(0.9 * v + rate * local * (gradient + 0.01 * w.data))
            w.data -= v
    torch.testing.assert_close(steps(model, optimizer, (3.0, 1.0)), expected.state_dict())


@pytest.mark.parametrize("zero", ["weight", "grad"])
def test_lars_moves_a_layer_without_weights_or_gradient_by_the_global_rate(zero):
    model = nn.Linear(2, 2, bias=False)
    optimizer = make_optimizer(model, OptimizerSettings(kind="lars", lr=0.5, weight_decay=0.1))
    before = torch.zeros(2, 2) if zero == "weight" else torch.ones(2, 2)
    model.weight.data.copy_(before)
    model.weight.grad = torch.zeros(2, 2) if zero == "grad" else torch.ones(2, 2)
    expected = before - 0.5 * (model.weight.grad + 0.1 * before)
    optimizer.step()
    torch.testing.assert_close(model.weight.data, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_biases_and_norms_are_spared_weight_decay_if_asked(kind):
    settings = OptimizerSettings(kind=kind, lr=0.1, weight_decay=0.5, decay_biases_and_norms=False)
    model = network()
    model[1].bias.data.fill_(1.0)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = make_optimizer(model, settings)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    changed = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert changed == {"0.weight", "3.weight"}


@pytest.mark.parametrize("kind", KINDS)
def test_biases_and_norms_decay_like_weights_unless_asked(kind):
    model = network()
    model[1].bias.data.fill_(1.0)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = make_optimizer(model, OptimizerSettings(kind=kind, lr=0.1, weight_decay=0.5))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert not any(map(torch.equal, model.parameters(), before))


def test_what_is_called_a_bias_is_spared_whatever_its_shape():
    model = models.create("lenet5", 10, 1, (32, 32))
    settings = OptimizerSettings(decay_biases_and_norms=False)
    decayed, spared = make_optimizer(model, settings).param_groups
    names = {parameter: name for name, parameter in model.named_parameters()}
    assert {names[parameter].endswith("bias") for parameter in spared["params"]} == {True}
    assert not any(names[parameter].endswith("bias") for parameter in decayed["params"])


def test_a_network_without_biases_is_one_group():
    model = nn.Linear(2, 2, bias=False)
    assert len(make_optimizer(model, OptimizerSettings(kind="lars")).param_groups) == 1


def test_an_optimizer_without_its_settings_is_what_horovod_makes_of_its_groups():
    for kind in KINDS:
        model = network()
        optimizer = make_optimizer(model, OptimizerSettings(kind=kind, lr=0.3, momentum=0.7))
        again = type(optimizer)(optimizer.param_groups)
        for group, made in zip(optimizer.param_groups, again.param_groups, strict=True):
            assert {k: v for k, v in made.items() if k != "params"} == {k: v for k, v in group.items() if k != "params"}


def gradients(*lengths):
    parameters = [nn.Parameter(torch.zeros(2)) for _ in lengths]
    for parameter, length in zip(parameters, lengths, strict=True):
        parameter.grad = torch.tensor([0.0, length])
    return parameters


def test_clipping_shortens_the_gradient_of_all_parameters_together():
    parameters = gradients(3.0, 4.0)
    make_clip(1.0)(parameters)
    lengths = [float(parameter.grad.norm()) for parameter in parameters]
    assert lengths == pytest.approx([0.6, 0.8], rel=1e-5)


@pytest.mark.parametrize("norm", [None, 6.0])
def test_short_gradients_stay_as_they_are_and_so_do_all_without_clipping(norm):
    parameters = gradients(3.0, 4.0)
    make_clip(norm)(parameters)
    assert [float(parameter.grad.norm()) for parameter in parameters] == [3.0, 4.0]


def test_plain_sgd_is_torchs():
    model, expected = network(), network()
    optimizer = make_optimizer(model, OptimizerSettings(momentum=0.8, weight_decay=0.1))
    plain = SGD(expected.parameters(), momentum=0.8, weight_decay=0.1, fused=True)
    torch.testing.assert_close(steps(model, optimizer, (0.1, 0.2)), steps(expected, plain, (0.1, 0.2)), rtol=0, atol=0)
