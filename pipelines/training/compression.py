"""The form in which gradients travel between workers."""

from typing import Any, Protocol

import torch
from torch import Tensor

_AS_STORED = (0, 2, 3, 1)
_AS_SEEN = (0, 3, 1, 2)


def contiguous_view(tensor: Tensor) -> Tensor:
    """The same memory in an order of dimensions in which it has no gaps or jumps, as Horovod wants its tensors.

    A channels-last (N, C, H, W) becomes (N, H, W, C); all else, such as what is contiguous already, stays as it is.
    """
    if not tensor.is_contiguous() and _is_channels_last(tensor):
        return tensor.permute(_AS_STORED)
    return tensor


def _is_channels_last(tensor: Tensor) -> bool:
    return tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)


class Compressor(Protocol):
    """What Horovod asks of one."""

    def compress(self, tensor: Tensor) -> tuple[Tensor, Any]:
        """A gradient to what is sent, and what `decompress` must know to undo it."""
        ...

    def decompress(self, tensor: Tensor, ctx: Any) -> Tensor:
        """The average of what was sent to a gradient."""
        ...


class ChannelsLastCompressor:
    """Sends channels-last gradients as contiguous views, then as `inner` sends them; they come back channels last."""

    def __init__(self, inner: Compressor) -> None:
        self._inner = inner

    def compress(self, tensor: Tensor) -> tuple[Tensor, Any]:
        view = contiguous_view(tensor)
        sent, inner_ctx = self._inner.compress(view)
        return sent, (view is not tensor, inner_ctx)

    def decompress(self, tensor: Tensor, ctx: Any) -> Tensor:
        permuted, inner_ctx = ctx
        received = self._inner.decompress(tensor, inner_ctx)
        return received.permute(_AS_SEEN) if permuted else received
