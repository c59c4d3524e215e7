"""Where weights and maps are, and in which order they lie in memory there."""

from typing import Literal

import torch
from torch import nn


def place(model: nn.Module, device: torch.device, channels_last: Literal["auto"] | bool) -> None:
    """Move the model to the device; `channels_last` as in TrainSettings. The order of weights decides that of maps."""
    wanted = device.type == "cuda" if channels_last == "auto" else channels_last
    layout = torch.channels_last if wanted else torch.preserve_format
    model.to(device=device, memory_format=layout)  # type: ignore[call-overload]  # torch's types leave the layout out
