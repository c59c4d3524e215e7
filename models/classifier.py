"""A network together with what must be done to stored pixels before it: what is trained, saved and served."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Classifier(nn.Module):
    """Stored images to logits. Holds the normalisation, so whoever has the weights has its constants, too.

    mean, std: of each channel over the training images, on the [0, 1] scale; a channel that never varies has std 0,
    for which one grey level is taken.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).clamp(min=1 / 255).view(1, -1, 1, 1))

    def forward(self, images_NHWC: Tensor) -> Tensor:
        """uint8 (N, H, W, C) to float32 logits (N, classes)."""
        images_NCHW = images_NHWC.permute(0, 3, 1, 2).float() / 255
        logits: Tensor = self.network((images_NCHW - self.mean) / self.std)
        return logits
