"""Sizes of feature maps: what convolutions and poolings make of an image's height and width."""

import itertools
from collections.abc import Mapping

from torch import nn

Size = tuple[int, int]
"""(height, width) in pixels."""


class SizeError(ValueError):
    """Images of this size leave some layer of the network nothing to slide over."""


def size_after(layers: Mapping[str, nn.Module], input_size: Size) -> Size:
    """Of the feature maps after `layers`, one after another.

    Convolution and pooling follow (N - F + 2P) / S + 1; all other layers are taken to keep the size.
    Raises SizeError that names the layer, what reaches it, and the smallest square images that get through.
    """
    size = input_size
    for name, layer in layers.items():
        entering, size = size, _after(layer, size)
        if min(size) < 1:
            raise SizeError(
                f"of images of {_shown(input_size)} only {_shown(entering)} reach {name}, whose window is "
                f"{_shown(_pair(layer.kernel_size))}; take images of at least {_shown(_smallest(layers, input_size))}"
            )
    return size


def _after(layer: nn.Module, size: Size) -> Size:
    if not isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
        return size
    window = zip(size, _pair(layer.kernel_size), _pair(layer.stride), _pair(layer.padding), strict=True)
    ceil_mode = bool(getattr(layer, "ceil_mode", False))
    height, width = (_steps(*side, ceil_mode) for side in window)
    return height, width


def _steps(length: int, window: int, stride: int, padding: int, ceil_mode: bool) -> int:
    """Places of a window along one side. In ceil mode a last one may hang over the edge, but must begin within."""
    room = length + 2 * padding - window
    if not ceil_mode:
        return room // stride + 1
    steps = -(-room // stride)
    return steps if steps * stride >= length + padding else steps + 1


def _smallest(layers: Mapping[str, nn.Module], size: Size) -> Size:
    """The smallest square that gets through all layers, and is no smaller than the shorter side of what did not."""
    for side in itertools.count(min(size)):
        between = (side, side)
        for layer in layers.values():
            between = _after(layer, between)
            if min(between) < 1:
                break
        else:
            return side, side
    raise AssertionError("counting never ends")


def _pair(value: object) -> Size:
    """Torch keeps the two sides of a window as a pair, or as one number for both."""
    if isinstance(value, int):
        return value, value
    assert isinstance(value, tuple), value
    return value


def _shown(size: Size) -> str:
    return f"{size[0]} x {size[1]}"
