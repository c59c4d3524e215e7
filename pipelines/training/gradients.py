"""Gradients in buckets: many of them travel between the workers as one tensor, while the others are still computed."""

import weakref
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

BUCKET_BYTES = 25 * 2**20
"""As DistributedDataParallel has them (Li et al. 2020, section 4.1)."""

Exchange = Callable[[], object]
"""Waits until a tensor has been replaced by its sum or its average over all workers."""
Send = Callable[[Tensor, str], Exchange]
"""Begins that for a tensor, which has the same name on all workers."""


class Bucket:
    """Gradients of some parameters as one flat tensor, sent as soon as the backward pass has made the last of them."""

    def __init__(
        self, name: str, parameters: Sequence[nn.Parameter], passes: int, dtype: torch.dtype, send: Send
    ) -> None:
        """passes: how many backward passes add up to a gradient. dtype: that of the gradients on their way."""
        self._name = name
        self._parameters = parameters
        self._passes = passes * len(parameters)
        self._missing = self._passes
        self._send = send
        self._exchange: Exchange | None = None
        first = parameters[0]
        sizes = [parameter.numel() for parameter in parameters]
        self._flat = torch.zeros(sum(sizes), dtype=dtype, device=first.device)
        self._parts = [
            part.as_strided(parameter.shape, parameter.stride())  # channels last stays so
            for part, parameter in zip(self._flat.split(sizes), parameters, strict=True)
        ]
        this = weakref.proxy(self)  # the garbage collector does not see through a tensor's hooks
        for parameter in parameters:
            parameter.register_post_accumulate_grad_hook(lambda _: this._arrived())

    def _arrived(self) -> None:
        assert self._exchange is None, "no more backward passes than announced"
        self._missing -= 1
        if not self._missing:
            self.begin()

    @torch.no_grad()
    def begin(self) -> None:
        """Send it if that has not begun; a parameter that had no part in the loss has the gradient 0."""
        if self._exchange is not None:
            return
        gradients = [torch.zeros_like(each) if each.grad is None else each.grad for each in self._parameters]
        torch._foreach_copy_(self._parts, gradients)
        for parameter in self._parameters:
            parameter.grad = None  # its memory is free for the gradients that are still computed
        self._exchange = self._send(self._flat, self._name)

    def finish(self) -> None:
        """Wait for the other workers. Then the gradients are those of all."""
        assert self._exchange is not None, "it has begun"
        self._exchange()
        for parameter, part in zip(self._parameters, self._parts, strict=True):
            parameter.grad = part.to(parameter.dtype)  # the part itself, if that is its type already
        self._missing, self._exchange = self._passes, None


def buckets_of(
    parameters: Iterable[nn.Parameter],
    passes: int,
    send: Send,
    dtype: torch.dtype | None = None,
    bucket_bytes: int = BUCKET_BYTES,
) -> list[Bucket]:
    """The gradients of all that is trained, in the order in which a backward pass makes them: the last layer first.

    bucket_bytes: of one bucket's gradients at the most; a larger one has a bucket of its own. dtype: see Bucket; by
    default that of the gradients.
    """
    groups: list[list[nn.Parameter]] = []
    free_bytes, kind = 0, None
    for parameter in reversed([each for each in parameters if each.requires_grad]):
        if not groups or parameter.nbytes > free_bytes or kind != (parameter.dtype, parameter.device):
            groups.append([])
            free_bytes, kind = bucket_bytes, (parameter.dtype, parameter.device)
        groups[-1].append(parameter)
        free_bytes -= parameter.nbytes
    return [
        Bucket(f"bucket {number}", group, passes, dtype or group[0].dtype, send) for number, group in enumerate(groups)
    ]


def average(buckets: Sequence[Bucket]) -> None:
    """Send what is not on its way yet, and wait for all."""
    for bucket in buckets:
        bucket.begin()
    for bucket in buckets:
        bucket.finish()
