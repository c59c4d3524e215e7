"""The part of an image that an activation can depend on, found by propagation, so for any network."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from pipelines.visualization.layers import outputs_of

_AT_ONCE = 16


def receptive_fields(network: nn.Module, image_shape: Sequence[int], layer: str, positions: Tensor) -> Tensor:
    """int64 (N, 4): top, left, bottom, right (the last two exclusive) of each position's field within the image.

    image_shape: C, H, W. positions: int64 (N, 2), row and column in the layer's feature maps.
    """
    unique, which = positions.unique(dim=0, return_inverse=True)
    boxes = [_fields(network, image_shape, layer, chunk) for chunk in unique.split(_AT_ONCE)]
    return torch.cat(boxes)[which]


def _fields(network: nn.Module, image_shape: Sequence[int], layer: str, positions: Tensor) -> Tensor:
    """Backward through the network's connections alone: a pixel is in the field if anything comes back to it.

    In float64, for every 3 x 3 convolution leaves a third of what reaches the edge of a field.
    """
    pixels = torch.zeros(len(positions), *image_shape, dtype=torch.float64, device=positions.device, requires_grad=True)
    with outputs_of(network, [layer]) as outputs, torch.enable_grad(), _ConnectionsOnly():
        network(pixels)
        output = outputs[layer]
        seed = torch.zeros_like(output)
        seed[torch.arange(len(output), device=output.device), :, positions[:, 0], positions[:, 1]] = 1
        (reached,) = torch.autograd.grad(output, pixels, seed)
    return torch.stack([_box(of_one) for of_one in (reached != 0).any(1)])


def _box(reached_HW: Tensor) -> Tensor:
    rows, columns = (reached_HW.any(1 - axis).nonzero()[:, 0] for axis in (0, 1))
    assert len(rows), "every activation of a network depends on its image"
    return torch.stack([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None, *geometry: Any, **more: Any) -> Tensor:
    """All channels reach all alike, so one is computed. `geometry`: stride, padding, dilation, groups."""
    more.pop("groups", None)
    window = x.new_full((1, 1, *weight.shape[2:]), 1 / weight[0, 0].numel())
    return F.conv2d(x.mean(1, keepdim=True), window, None, *geometry[:3], **more).expand(-1, len(weight), -1, -1)


def _connect(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return x.mean(-1, keepdim=True).expand(*x.shape[:-1], len(weight))


def _pool(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    assert dilation in (1, (1, 1)), "no network of ours has dilated pooling"
    return F.avg_pool2d(x, kernel_size, stride, padding, ceil_mode, count_include_pad=False)


def _as_it_is(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return x


_CONNECTIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    F.conv2d: _convolve,
    F.linear: _connect,
    **dict.fromkeys((F.max_pool2d, torch.max_pool2d), _pool),
    **dict.fromkeys((F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_), _as_it_is),
    **dict.fromkeys((F.batch_norm, F.local_response_norm, F.dropout), _as_it_is),
}
"""Weights that are zero and maps that are switched off are connections all the same."""


class _ConnectionsOnly(TorchFunctionMode):
    """While it is on, convolutions and maxima are means, and rectifiers and normalisations do nothing."""

    def __torch_function__(
        self, func: Any, types: Sequence[Any], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return _CONNECTIONS.get(func, func)(*args, **(kwargs or {}))
