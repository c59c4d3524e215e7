"""Names to networks."""

from collections.abc import Callable

from torch import nn

from models.lenet import lenet5, lenet5_map, lenet5_modern

_NETWORKS: dict[str, Callable[[int, int], nn.Module]] = {
    "lenet5": lenet5,
    "lenet5_map": lenet5_map,
    "lenet5_modern": lenet5_modern,
}


def names() -> list[str]:
    """All names that `create` knows."""
    return sorted(_NETWORKS)


def create(name: str, num_classes: int, in_channels: int) -> nn.Module:
    """The network of that name with fresh weights: float32 (N, in_channels, H, W) to logits (N, num_classes).

    Raises ValueError that lists the legal names if there is no such network.
    """
    if name not in _NETWORKS:
        raise ValueError(f"model.name = {name!r}: no such network; there are {', '.join(names())}")
    return _NETWORKS[name](num_classes, in_channels)
