"""The optimizer and what is done to gradients before its step."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import clip_grad_norm_
from torch.optim import SGD, AdamW, Optimizer

from pipelines.config import OptimizerSettings
from pipelines.training.velocity import AlexNetSGD, Lars

NORMALISATIONS = (_BatchNorm, nn.GroupNorm, nn.LayerNorm)


def make_optimizer(model: nn.Module, settings: OptimizerSettings) -> Optimizer:
    """The optimizer of that kind over all parameters of the model, which are where they will stay.

    torch's own in their fused form: one pass over the weights, where the default makes several.
    """
    groups = _parameter_groups(model, settings)
    lr, momentum, weight_decay = settings.lr, settings.momentum, settings.weight_decay
    match settings.kind:
        case "sgd":
            sgd = SGD(groups, lr, momentum, weight_decay=weight_decay, nesterov=settings.nesterov, fused=True)
            return _with_velocities(sgd) if momentum else sgd
        case "alexnet":
            return AlexNetSGD(groups, lr, momentum, weight_decay)
        case "lars":
            return Lars(groups, lr, momentum, weight_decay, settings.trust_coefficient)
        case "adamw":
            return AdamW(groups, lr, (momentum, settings.beta2), weight_decay=weight_decay, fused=True)


def load_state(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Take over what another optimizer of that kind had, but for how it computes, as in checkpoints of unfused steps.

    GradScaler asks the optimizer whether it is fused, and the step asks its groups: they must say the same.
    """
    kept = [{"fused": group["fused"]} if "fused" in group else {} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, ours in zip(optimizer.param_groups, kept, strict=True):
        group.update(ours)


def _with_velocities(sgd: SGD) -> SGD:
    """Zeros, with which its first step is what it was without.

    A fused first step that is left out for an overflow (precision.py) would leave velocities that nobody wrote to.
    """
    for group in sgd.param_groups:
        for parameter in group["params"]:
            sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return sgd


def _parameter_groups(model: nn.Module, settings: OptimizerSettings) -> list[dict[str, Any]]:
    """One group, or two if biases and the parameters of normalisation layers are treated apart, in second place."""
    if settings.decay_biases_and_norms and settings.kind != "lars":
        return [{"params": list(model.parameters())}]
    apart = set(_biases_and_norms(model))
    second: dict[str, Any] = {} if settings.decay_biases_and_norms else {"weight_decay": 0.0}
    if settings.kind == "lars":
        second["layerwise"] = False
    groups = [
        {"params": [parameter for parameter in model.parameters() if parameter not in apart]},
        {"params": [parameter for parameter in model.parameters() if parameter in apart]} | second,
    ]
    return [group for group in groups if group["params"]]


def _biases_and_norms(model: nn.Module) -> Iterable[nn.Parameter]:
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if name == "bias" or isinstance(module, NORMALISATIONS):
                yield parameter


def set_lr(optimizer: Optimizer, lr: float) -> None:
    """Of all parameters, from the next step on."""
    for group in optimizer.param_groups:
        group["lr"] = lr


Clip = Callable[[Iterable[nn.Parameter]], object]
"""Changes the gradients of these parameters, which are averaged over all workers, before a step."""


def unclipped(parameters: Iterable[nn.Parameter]) -> None:
    """Gradients as they are."""


def make_clip(norm: float | None) -> Clip:
    """Shorten the gradient of all parameters together to `norm` where it is longer; the host does not wait for it."""
    return unclipped if norm is None else partial(clip_grad_norm_, max_norm=norm)
