"""Several classifiers as one, whose answer is the average of theirs."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Ensemble(nn.Module):
    """Stored images uint8 (N, H, W, C) to class probabilities float32 (N, classes).

    members: of the same classes and image size. weights: a share for each, all together 1.
    of_logits: average the logits, and with them the logarithms of the probabilities; else the probabilities.
    """

    weights: Tensor

    def __init__(self, members: Sequence[nn.Module], weights: Sequence[float], of_logits: bool) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.register_buffer("weights", torch.tensor(weights, dtype=torch.float32))
        self._of_logits = of_logits

    def forward(self, images_NHWC: Tensor) -> Tensor:
        logits = torch.stack([member(images_NHWC) for member in self.members], 2)
        if self._of_logits:
            return (logits @ self.weights).softmax(1)
        return logits.softmax(1) @ self.weights
