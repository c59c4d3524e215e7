"""What each network of the papers takes and tells apart, for summaries that are not about a dataset."""

from dataclasses import dataclass, replace
from typing import Any

import models
from models.sizes import Size
from pipelines.config import InputError

_MNIST = ("lenet5", "lenet5_modern")
_CIFAR = ("resnet20", "resnet56", "resnet110")
_OWN = {**dict.fromkeys(_MNIST, (1, 10)), **dict.fromkeys(_CIFAR, (3, 10)), "fully_connected": (1, 1)}
"""Channels and classes where they are not ImageNet's 3 and 1000. The fully connected net is the first lecture's."""


@dataclass(frozen=True)
class Input:
    """Images and the classes they are of."""

    size: Size
    """(height, width)."""
    channels: int
    classes: int

    @property
    def shown(self) -> str:
        """`224x224x3`."""
        return f"{self.size[0]}x{self.size[1]}x{self.channels}"

    def changed(self, size: int | None, channels: int | None, classes: int | None) -> "Input":
        """With what is given; `size` is of a square."""
        square = None if size is None else (size, size)
        given: dict[str, Any] = {"size": square, "channels": channels, "classes": classes}
        return replace(self, **{key: value for key, value in given.items() if value is not None})


def usual_input(name: str) -> Input:
    """Of the network's paper; an InputError if there is no such network."""
    try:
        size = models.input_size(name)
    except ValueError as error:
        raise InputError(str(error).replace("model.name", "network")) from None
    return Input(size, *_OWN.get(name, (3, 1000)))
