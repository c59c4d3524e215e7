"""What a network gives in training: logits, or several heads with auxiliary ones among them."""

from typing import NamedTuple

from torch import Tensor


class Head(NamedTuple):
    weight: float
    """Of its loss in the sum of all heads' losses; 1 for the network's own."""
    logits: Tensor
    """(N, classes)."""


Outputs = Tensor | tuple[Head, ...]
"""Logits, always so in evaluation; or in training all heads of a network that has more than one, its own first."""


def heads_of(outputs: Outputs) -> tuple[Head, ...]:
    """All heads, the network's own first."""
    return (Head(1.0, outputs),) if isinstance(outputs, Tensor) else outputs


def main_logits(outputs: Outputs) -> Tensor:
    """(N, classes), of the network's own head."""
    return heads_of(outputs)[0].logits
