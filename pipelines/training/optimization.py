"""The optimizer, and the learning rate as a function of the step."""

import math

from torch import nn
from torch.optim import SGD, Optimizer

from pipelines.config import OptimizerSettings, ScheduleSettings


def make_optimizer(model: nn.Module, settings: OptimizerSettings) -> Optimizer:
    """SGD over all parameters of the model."""
    return SGD(
        model.parameters(),
        lr=settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        nesterov=settings.nesterov,
    )


def lr_factor(settings: ScheduleSettings, step: int, steps_per_epoch: int, epochs: int) -> float:
    """What the peak learning rate is multiplied with at `step`, counted from 0 through all epochs.

    Linear warm-up as in Goyal et al. 2017, section 2.2; cosine as in Loshchilov & Hutter 2017, equation 5, one period.
    """
    warmup_steps = settings.warmup_epochs * steps_per_epoch
    if step < warmup_steps:
        return (step + 1) / warmup_steps if warmup_steps > 1 else 1.0
    if settings.kind == "constant":
        return 1.0
    rest = max(1.0, epochs * steps_per_epoch - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup_steps) / rest)))


def set_lr(optimizer: Optimizer, lr: float) -> None:
    """Of all parameters, from the next step on."""
    for group in optimizer.param_groups:
        group["lr"] = lr
