"""The layers of any network by name: what they give for an image, and which of them are worth a picture.

A layer is a module whose output is one tensor (N, maps, H, W), or (N, units), which is seen as (N, units, 1, 1).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from pipelines.config import InputError

_See = Callable[[str, nn.Module, Tensor], None]
_Hook = Callable[[nn.Module, object, object], None]

_POOLING = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)


@dataclass(frozen=True)
class Layer:
    """What a layer gives for images of one size."""

    name: str
    maps: int
    height: int
    width: int
    pooled: bool
    """Its output is that of a pooling layer."""

    def __str__(self) -> str:
        return f"{self.name} ({self.maps} maps of {self.height} x {self.width})"


def layers_of(network: nn.Module, image_1CHW: Tensor) -> dict[str, Layer]:
    """All layers that an image passes on its way to the logits, in the order in which they finish."""
    layers: dict[str, Layer] = {}
    pooled: list[Tensor] = []  # kept, so that no later tensor can be taken for one of them

    def note(name: str, module: nn.Module, output: Tensor) -> None:
        if isinstance(module, _POOLING):
            pooled.append(output)
        layers.pop(name, None)  # of a module that is called more than once, the last call counts
        _, maps, height, width = _as_maps(output).shape
        layers[name] = Layer(name, maps, height, width, any(output is one for one in pooled))

    with _hooked(network, [name for name, _ in network.named_modules() if name], note), torch.no_grad():
        network(image_1CHW)
    return layers


def choose_layers(layers: dict[str, Layer], wanted: Sequence[str]) -> list[Layer]:
    """The wanted ones. If none is named, the last of every resolution, other than pooling.

    Raises InputError that lists the layers there are.
    """
    for name in wanted:
        if name not in layers:
            raise InputError(
                f"layers: the network has no layer {name!r}; there are {', '.join(map(str, layers.values()))}"
            )
    if wanted:
        return [layers[name] for name in wanted]
    of_size = {(layer.height, layer.width): layer for layer in layers.values() if not layer.pooled}
    spatial = [layer for size, layer in of_size.items() if size != (1, 1)]
    return spatial or [layer for layer in layers.values() if not layer.pooled][-1:]


def check_maps(layer: Layer, maps: Sequence[int]) -> None:
    """Raise InputError if the layer lacks one of the feature maps."""
    missing = [number for number in maps if not 0 <= number < layer.maps]
    if missing:
        raise InputError(
            f"maps: layer {layer.name} has no feature map {', '.join(map(str, missing))}; "
            f"it has {layer.maps}, numbered 0 to {layer.maps - 1}"
        )


@contextmanager
def outputs_of(network: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """A dictionary that every forward fills with the outputs (N, maps, H, W) of these layers."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, output: Tensor) -> None:
        outputs[name] = _as_maps(output).clone()  # a later function may work in place

    with _hooked(network, names, keep):
        yield outputs


def first_weights(network: nn.Module, image_1CHW: Tensor) -> tuple[str, Tensor]:
    """Name and filters (F, C, h, w) of the first layer with weights over the image's channels.

    A fully connected first layer has one filter a unit, as large as the image. Raises InputError if there is neither.
    """
    channels, height, width = image_1CHW.shape[1:]
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and module.weight.shape[1] == channels:
            return name, module.weight.detach()
        if isinstance(module, nn.Linear) and module.in_features == channels * height * width:
            return name, module.weight.detach().view(-1, channels, height, width)
    raise InputError(f"the network has no convolution over {channels} channels, so no first filters to show")


def _as_maps(output: Tensor) -> Tensor:
    return output[:, :, None, None] if output.dim() == 2 else output


@contextmanager
def _hooked(network: nn.Module, names: Sequence[str], see: _See) -> Iterator[None]:
    """Call `see(name, module, output)` after each of these modules, where the output is a layer's."""
    handles: list[RemovableHandle] = []

    def hook(name: str) -> _Hook:
        def after(module: nn.Module, inputs: object, output: object) -> None:
            if isinstance(output, Tensor) and output.dim() in (2, 4):
                see(name, module, output)

        return after

    try:
        for name in names:
            handles.append(network.get_submodule(name).register_forward_hook(hook(name)))
        yield
    finally:
        for handle in handles:
            handle.remove()
