"""What several of the papers share: AlexNet's response normalisation and the three fully connected layers after it."""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.sizes import Size, size_after

Layers = OrderedDict[str, nn.Module]
"""Names to layers, in the order in which an image passes them."""


class LocalResponseNorm(nn.Module):
    """Krizhevsky et al. 2012, section 3.3: each activation over (k + alpha * sum of n neighbours' squares) ^ beta.

    The neighbours are at the same place in the maps beside it, n // 2 on either side, fewer at the ends. The sum is not
    divided by n, as it is in `nn.LocalResponseNorm`, whose alpha would have to be n times this one.
    """

    def __init__(self, size: int = 5, k: float = 2.0, alpha: float = 1e-4, beta: float = 0.75) -> None:
        super().__init__()
        self.size, self.k, self.alpha, self.beta = size, k, alpha, beta

    def forward(self, maps_NCHW: Tensor) -> Tensor:
        """Any floating-point (N, C, H, W) to the same shape and type.

        Computed with at least 32 bits: in float16 the square of 256 is infinite.
        """
        reach, channels = self.size // 2, maps_NCHW.shape[1]
        wide = maps_NCHW.to(torch.promote_types(maps_NCHW.dtype, torch.float32))
        squares = F.pad(wide.square(), (0, 0, 0, 0, reach, reach))
        sums = squares[:, :channels]
        for shift in range(1, 2 * reach + 1):
            sums = sums + squares[:, shift : shift + channels]
        return (wide * torch.pow(self.k + self.alpha * sums, -self.beta)).to(maps_NCHW.dtype)

    def extra_repr(self) -> str:
        return f"{self.size}, k={self.k}, alpha={self.alpha}, beta={self.beta}"


def with_fully_connected(
    features: Layers, channels: int, input_size: Size, num_classes: int, dropout: float
) -> nn.Sequential:
    """`features`, which end in `channels` maps, and then FC6 and FC7 of 4096 units and FC8, as AlexNet has them.

    Dropout zeroes outputs of FC6 and FC7. Raises SizeError if images of input_size do not get through `features`.
    """
    height, width = size_after(features, input_size)
    return nn.Sequential(
        features
        | OrderedDict(
            flatten=nn.Flatten(),
            fc6=nn.Linear(channels * height * width, 4096),
            relu6=nn.ReLU(),
            drop6=nn.Dropout(dropout),
            fc7=nn.Linear(4096, 4096),
            relu7=nn.ReLU(),
            drop7=nn.Dropout(dropout),
            fc8=nn.Linear(4096, num_classes),
        )
    )


def draw_weights(network: nn.Module, std: float) -> None:
    """All weights of convolutions and linear layers from N(0, std^2), all their biases 0."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.normal_(layer.weight, std=std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
