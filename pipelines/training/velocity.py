"""Optimizers whose velocity has the learning rate in it: AlexNet's, and LARS with a rate for every layer.

torch's SGD multiplies the velocity with the learning rate of the present step. Here every gradient enters the velocity
with the rate of its own step. Both do the same as long as the rate stays; when it is lowered, this form coasts on with
the speed it had.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class AlexNetSGD(Optimizer):
    """v := momentum * v - weight_decay * lr * w - lr * gradient; w := w + v (Krizhevsky et al. 2012, section 5)."""

    def __init__(
        self, params: Iterable[Any], lr: float = 0.01, momentum: float = 0.9, weight_decay: float = 5e-4, **more: Any
    ) -> None:
        # Horovod makes its own of this class from the groups alone: everything must have a default.
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay} | more)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # gives no loss
        assert closure is None, "the loop computes gradients itself"
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if weights:
                self._move(weights, group)

    def _move(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        gradients: list[Tensor] = [weight.grad for weight in weights if weight.grad is not None]
        velocities = [self._velocity(weight) for weight in weights]
        descents = torch._foreach_add(gradients, weights, alpha=group["weight_decay"])
        self._scale(descents, gradients, weights, group)
        torch._foreach_mul_(velocities, group["momentum"])
        torch._foreach_add_(velocities, descents, alpha=-group["lr"])
        torch._foreach_add_(weights, velocities)

    def _scale(
        self, descents: Iterable[Tensor], gradients: list[Tensor], weights: list[Tensor], group: dict[str, Any]
    ) -> None:
        """One learning rate for all."""

    def _velocity(self, weight: Tensor) -> Tensor:
        state = self.state[weight]
        if "velocity" not in state:
            state["velocity"] = torch.zeros_like(weight)
        velocity: Tensor = state["velocity"]
        return velocity


class Lars(AlexNetSGD):
    """Layer-wise adaptive rate scaling (You et al. 2017, Algorithm 1): each tensor of weights is a layer.

    Its rate is lr * trust_coefficient * |w| / (|gradient| + weight_decay * |w|); lr alone where one of the two norms is
    0, and in groups with `layerwise` False.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.1,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        trust_coefficient: float = 0.001,
    ) -> None:
        super().__init__(params, lr, momentum, weight_decay, trust_coefficient=trust_coefficient, layerwise=True)

    def _scale(
        self, descents: Iterable[Tensor], gradients: list[Tensor], weights: list[Tensor], group: dict[str, Any]
    ) -> None:
        if not group["layerwise"]:
            return
        of_weights, of_gradients = (torch.stack(torch._foreach_norm(tensors)) for tensors in (weights, gradients))
        rates = group["trust_coefficient"] * of_weights / (of_gradients + group["weight_decay"] * of_weights)
        rates = torch.where((of_weights > 0) & (of_gradients > 0), rates, 1.0)
        for descent, rate in zip(descents, rates.unbind(), strict=True):
            descent.mul_(rate)
