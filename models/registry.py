"""Names to networks, and what each of them may be asked for.

A network's options are the keyword-only parameters of the function that builds it, documented there.
"""

import difflib
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import nn

from models import resnet, vgg
from models.alexnet import alexnet, alexnet_two_tower
from models.fully_connected import fully_connected
from models.googlenet import googlenet
from models.lenet import lenet5, lenet5_modern
from models.sizes import Size, SizeError
from models.zfnet import zfnet, zfnet_large

_NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "lenet5": lenet5,
    "lenet5_modern": lenet5_modern,
    "alexnet": alexnet,
    "alexnet_two_tower": alexnet_two_tower,
    "zfnet": zfnet,
    "zfnet_large": zfnet_large,
    **{name: partial(vgg.vgg, name) for name in vgg.TABLE},
    "googlenet": googlenet,
    **{name: partial(resnet.resnet, name) for name in resnet.DEPTHS},
    **{name: partial(resnet.small_resnet, name) for name in resnet.SMALL_DEPTHS},
    "fully_connected": fully_connected,
}
_LENETS_SIZE = (32, 32)
"""Of the networks that can have no other, and so are not built for one."""


def names() -> list[str]:
    """All names that `create` knows, in the order of their papers."""
    return list(_NETWORKS)


def input_size(name: str) -> Size:
    """(height, width) of the images that the paper's network is for; what `create` takes if it is given none."""
    parameter = inspect.signature(_network(name)).parameters.get("input_size")
    size: Size = parameter.default if parameter else _LENETS_SIZE
    return size


def options(name: str) -> dict[str, Any]:
    """Options of the network and what they are if they are not given."""
    parameters = inspect.signature(_network(name)).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}


def create(
    name: str, num_classes: int, in_channels: int, input_size: int | Size | None = None, **options: Any
) -> nn.Module:
    """The network of that name with fresh weights: float32 (N, in_channels, H, W) to logits (N, num_classes).

    input_size: of the images, (height, width) or the side of a square; the paper's if None.
    options: see `options`, and the function that builds the network.
    Raises ValueError that says what is legal if there is no such network, option or value of an option, and its
    subclass SizeError if the network's layers have no place in images of that size.
    """
    build = _network(name)
    _check_options(name, options)
    size = {} if input_size is None else {"input_size": _size(input_size)}
    if "input_size" not in inspect.signature(build).parameters:
        size = {}
    try:
        return build(num_classes, in_channels, **size, **options)
    except SizeError as error:
        raise SizeError(f"{name}: {error}") from None


def _network(name: str) -> Callable[..., nn.Module]:
    if name not in _NETWORKS:
        hint = _nearest(name, _NETWORKS)
        raise ValueError(f"model.name = {name!r}: no such network; there are {', '.join(names())}{hint}")
    return _NETWORKS[name]


def _nearest(word: str, legal: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(word, legal, 1, 0.5)
    return f"; did you mean {near[0]}?" if near else ""


def _size(given: int | Size) -> Size:
    height, width = (given, given) if isinstance(given, int) else given
    if min(height, width) < 1:
        raise SizeError(f"input_size = {height} x {width}: an image has at least one pixel")
    return height, width


def _check_options(name: str, given: Mapping[str, Any]) -> None:
    legal = options(name)
    for option, value in given.items():
        key = f"model.options.{option}"
        if option not in legal:
            there_are = f"its options are {', '.join(legal)}" if legal else "it has none"
            raise ValueError(f"{key}: {name} has no such option; {there_are}{_nearest(option, legal)}")
        expected, fits = _KINDS[type(legal[option])]
        if not fits(value):
            raise ValueError(f"{key} = {value!r}: expected {expected}")


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1


def _are_counts(value: object) -> bool:
    return isinstance(value, list | tuple) and all(type(count) is int and count > 0 for count in value)


_KINDS: dict[type, tuple[str, Callable[[object], bool]]] = {
    bool: ("true or false", lambda value: isinstance(value, bool)),
    float: ("a share, at least 0 and below 1", _is_share),
    tuple: ("a list of whole numbers above 0", _are_counts),
}
"""What an option may be, by the type of its default."""
