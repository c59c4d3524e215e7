"""With how many bits a step computes, and what that asks of its loss, its gradients and its optimizer."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.amp import GradScaler
from torch.optim import Optimizer

from pipelines.config import PrecisionKind

_AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Precision:
    """Mixed precision with float32 weights (Micikevicius et al. 2018, section 3); float32 leaves all as it is.

    float16 scales the loss, so that small gradients do not become 0. The scale halves when a gradient overflows, and
    that step is left out; it doubles after 2000 steps without. The gradients must be averaged over all workers before
    `unscale`: then all of them see the same overflow, and leave out the same step.
    """

    def __init__(self, kind: PrecisionKind, device_type: str, first_scale: float = 2.0**16) -> None:
        self._device_type = device_type
        self._dtype = _AUTOCAST.get(kind)
        self._scaler = GradScaler(device_type, first_scale, enabled=kind == "float16")

    def autocast(self) -> AbstractContextManager[object]:
        """For the forward pass and the loss."""
        return nullcontext() if self._dtype is None else torch.autocast(self._device_type, self._dtype)

    def scaled(self, loss: Tensor, parts: int = 1) -> Tensor:
        """What to call `backward` of. parts: how many such losses a step has, whose mean is the batch's."""
        scaled: Tensor = self._scaler.scale(loss if parts == 1 else loss / parts)
        return scaled

    def unscale(self, optimizer: Optimizer) -> None:
        """Gradients of the scaled loss to those of the loss, in place, once a step."""
        self._scaler.unscale_(optimizer)

    def step(self, optimizer: Optimizer) -> None:
        """The optimizer's step, left out if a gradient was not finite when it was unscaled."""
        self._scaler.step(optimizer)
        self._scaler.update()

    def state_dict(self) -> dict[str, Any]:
        return self._scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._scaler.load_state_dict(state)


def allow_tf32(allowed: bool) -> None:
    """Whether float32 arithmetic on GPUs may round what it multiplies to 10 bits of mantissa; of this process."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
