"""The deconvnet: an activation projected back to pixels (Zeiler and Fergus 2014, section 2.1).

It is a backward pass in which some functions have another backward. So it takes any network as it stands, of modules or
of functions, in sequence or as a graph:

    convolution, fully connected   transposed, without the bias (autograd's own backward)
    max pooling                    the switches of this image (autograd's own); where windows overlap, sums
    rectifier                      rectifies what comes back, whatever went forward (autograd: the other way round)
    batch norm, in evaluation      its scale; the shift is a bias
    local response norm            its divisors, held at this image's values as switches are
    sum of branches, concatenation copies to each branch, its slice to each
    all else (tanh, mean pooling)  transposed derivative at this image

The paper does not say what its contrast normalisation does on the way back, nor knew it of batch norm and shortcuts.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from models.layers import LocalResponseNorm
from pipelines.visualization.layers import outputs_of


def project(network: nn.Module, images_NCHW: Tensor, layer: str, maps: Tensor, positions: Tensor) -> Tensor:
    """One activation of each image, all others of the layer set to zero, projected back: (N, C, H, W).

    images_NCHW: as the network gets them. maps: int64 (N,), feature maps of the layer. positions: int64 (N, 2), row and
    column in them. The network should be in evaluation. Of convolutions alone it is the transposed convolution.
    """
    pixels = images_NCHW.detach().requires_grad_()
    with (  # the layer that is observed may itself be a normalisation: its divisor is held before its output is kept
        _divisors_held(network),
        outputs_of(network, [layer]) as outputs,
        torch.enable_grad(),
        _BackwardOfDeconvnet(),
    ):
        network(pixels)
        output = outputs[layer]
        everyone = torch.arange(len(output), device=output.device)
        seed = torch.zeros_like(output)
        place = (everyone, maps, positions[:, 0], positions[:, 1])
        seed[place] = output.detach()[place]
        (projection,) = torch.autograd.grad(output, pixels, seed)
    return projection


class _Rectify(Function):
    """max(0, x) forward, and max(0, signal) backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, signal: Tensor) -> Tensor:
        return signal.clamp(min=0)


def _rectify(x: Tensor, inplace: bool = False) -> Tensor:
    """Never in place: the output of the layer before must stay what it was."""
    result: Tensor = _Rectify.apply(x)  # type: ignore[no-untyped-call]  # torch left it untyped
    return result


@contextmanager
def _divisors_held(network: nn.Module) -> Iterator[None]:
    handles = [
        module.register_forward_hook(_hold_divisor)
        for module in network.modules()
        if isinstance(module, nn.LocalResponseNorm | LocalResponseNorm)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hold_divisor(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
    """The output again, as the input over a constant: the divisor, which is the input over the output."""
    (x,) = inputs
    with torch.no_grad():
        nowhere_0 = x.masked_fill(x == 0, 1e-6)
        factor: Tensor = module.forward(nowhere_0) / nowhere_0
    return x * factor


class _BackwardOfDeconvnet(TorchFunctionMode):
    """While it is on, the functions of `_IN_DECONVNET` are replaced, also where modules call them."""

    def __torch_function__(
        self, func: Any, types: Sequence[Any], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return _IN_DECONVNET.get(func, func)(*args, **(kwargs or {}))


_IN_DECONVNET: dict[Callable[..., Any], Callable[..., Any]] = dict.fromkeys(
    (F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_), _rectify
)
