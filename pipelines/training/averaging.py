"""A moving average of the weights, kept beside them."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any, Protocol

import torch
from torch import nn

from pipelines.training.workers import Workers

Validate = Callable[[nn.Module], dict[str, float]]
"""The model's metrics over the validation split, the same on every worker."""


class Average(Protocol):
    """What follows the weights of a training."""

    def restart(self) -> None:
        """Take over the weights as they are."""
        ...

    def follow(self, step: int) -> None:
        """After `step`, counted from 0 through all epochs, has changed the weights."""
        ...

    def share(self, workers: Workers) -> None:
        """Give every worker what rank 0 has."""
        ...

    def metrics(self, validate: Validate) -> dict[str, float]: ...
    def state_dict(self) -> dict[str, Any] | None: ...
    def load_state_dict(self, state: dict[str, Any] | None) -> None: ...


class NoAverage:
    """Follows nothing."""

    def restart(self) -> None:
        pass

    def follow(self, step: int) -> None:
        pass

    def share(self, workers: Workers) -> None:
        pass

    def metrics(self, validate: Validate) -> dict[str, float]:
        return {}

    def state_dict(self) -> None:
        return None

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        pass


class MovingAverage:
    """average := d * average + (1 - d) * weights after every step (Szegedy et al. 2016, section 8).

    d is `decay`, but (1 + step) / (10 + step) while that is less, as TensorFlow's ExponentialMovingAverage has it, so
    that a short training's average is not one of its random initial weights. Running statistics of normalisation layers
    are averaged, too; whole numbers are copied.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._model = model
        self.model = deepcopy(model).requires_grad_(False)
        pairs = list(zip(self.model.state_dict().values(), model.state_dict().values(), strict=True))
        self._fractions = [pair for pair in pairs if pair[0].is_floating_point()]
        self._counts = [pair for pair in pairs if not pair[0].is_floating_point()]

    def restart(self) -> None:
        self.model.load_state_dict(self._model.state_dict())

    @torch.no_grad()
    def follow(self, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        averages, weights = zip(*self._fractions, strict=True)
        torch._foreach_lerp_(averages, weights, 1 - decay)
        for average, count in self._counts:
            average.copy_(count)

    def share(self, workers: Workers) -> None:
        workers.share_weights(self.model)

    def metrics(self, validate: Validate) -> dict[str, float]:
        """Of the average, as `ema_val_top1_error` and so on."""
        return {f"ema_{name}": value for name, value in validate(self.model).items()}

    def state_dict(self) -> dict[str, Any]:
        return self.model.state_dict()

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        assert state is not None, "a training with the same settings saved it"
        self.model.load_state_dict(state)


def make_average(model: nn.Module, decay: float | None) -> Average:
    """model: on its device, where it stays."""
    return NoAverage() if decay is None else MovingAverage(model, decay)
