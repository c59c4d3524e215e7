"""GoogLeNet: Szegedy et al., Going deeper with convolutions (2015), Table 1 and section 5."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from models.heads import Head, Outputs
from models.layers import Layers, LocalResponseNorm
from models.sizes import Size, SizeError, size_after

TABLE = {
    #      1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool proj
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
"""Maps of each inception module's convolutions. Its output has 1x1 + 3x3 + 5x5 + pool proj of them."""
_POOLED_AFTER = ("3b", "4e")
_AUXILIARY_AFTER = ("4a", "4d")
_AUXILIARY_WEIGHT = 0.3


def googlenet(
    num_classes: int,
    in_channels: int,
    input_size: Size = (224, 224),
    *,
    dropout: float = 0.4,
    auxiliary: bool = True,
    auxiliary_dropout: float = 0.7,
) -> nn.Module:
    """(N, in_channels, *input_size) to logits; 6,998,552 parameters for ImageNet, 13,378,280 with the auxiliary heads.

    No batch normalisation: a bias in every convolution. In training the outputs are three heads (models/heads.py).
    What the paper leaves open: pooling keeps a last window that hangs over the edge, so that Table 1's sizes come out;
    normalisation is AlexNet's; weights are drawn as He et al. 2015 do, those of linear layers as Glorot and Bengio do.
    Deviation: the last pooling averages all of a map, whatever its size; at 224 pixels that is Table 1's 7 x 7.

    dropout: share of the averaged maps that is zeroed in training; the paper's 0.4.
    auxiliary: have the two auxiliary heads, whose losses count 0.3 each in training.
    auxiliary_dropout: the same for the hidden layer of the auxiliary heads; the paper's 0.7.
    """
    return GoogLeNet(num_classes, in_channels, input_size, dropout, auxiliary, auxiliary_dropout)


class GoogLeNet(nn.Module):
    """See `googlenet`."""

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        input_size: Size,
        dropout: float,
        auxiliary: bool,
        auxiliary_dropout: float,
    ) -> None:
        super().__init__()
        layers = _stem(in_channels)
        maps, heads = 192, OrderedDict[str, nn.Module]()
        for place, row in TABLE.items():
            layers[f"inception_{place}"] = module = Inception(maps, *row)
            maps = module.maps
            if auxiliary and place in _AUXILIARY_AFTER:
                size = _size_in_head(layers, input_size)
                heads[f"inception_{place}"] = _auxiliary_head(maps, size, num_classes, auxiliary_dropout)
            if place in _POOLED_AFTER:
                layers[f"pool{place[0]}"] = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        size_after(layers, input_size)
        self.trunk = nn.Sequential(layers)
        self.auxiliary = nn.ModuleDict(heads)
        self.classifier = nn.Sequential(
            OrderedDict(
                pool=nn.AdaptiveAvgPool2d(1),
                flatten=nn.Flatten(),
                drop=nn.Dropout(dropout),
                fc=nn.Linear(maps, num_classes),
            )
        )
        _initialise(self)

    def forward(self, images_NCHW: Tensor) -> Outputs:
        """Logits (N, classes); in training, with auxiliary heads, a Head each."""
        maps, heads = images_NCHW, []
        for name, layer in self.trunk.named_children():
            maps = layer(maps)
            if self.training and name in self.auxiliary:
                heads.append(Head(_AUXILIARY_WEIGHT, self.auxiliary[name](maps)))
        logits: Tensor = self.classifier(maps)
        return (Head(1.0, logits), *heads) if heads else logits


class Inception(nn.Module):
    """Fig. 2b: four branches over the same maps, side by side in the output, which keeps height and width."""

    def __init__(self, maps: int, n1: int, reduce3: int, n3: int, reduce5: int, n5: int, pool: int) -> None:
        super().__init__()
        self.maps = n1 + n3 + n5 + pool
        """In the output."""
        self.branch1 = _rectified(conv=nn.Conv2d(maps, n1, 1))
        self.branch3 = _rectified(reduce=nn.Conv2d(maps, reduce3, 1), conv=nn.Conv2d(reduce3, n3, 3, padding=1))
        self.branch5 = _rectified(reduce=nn.Conv2d(maps, reduce5, 1), conv=nn.Conv2d(reduce5, n5, 5, padding=2))
        self.branch_pool = nn.Sequential(
            OrderedDict(pool=nn.MaxPool2d(3, stride=1, padding=1), conv=nn.Conv2d(maps, pool, 1), conv_relu=nn.ReLU())
        )

    def forward(self, maps_NCHW: Tensor) -> Tensor:
        branches = (self.branch1, self.branch3, self.branch5, self.branch_pool)
        return torch.cat([branch(maps_NCHW) for branch in branches], 1)


def _rectified(**convolutions: nn.Module) -> nn.Sequential:
    layers: Layers = OrderedDict()
    for name, layer in convolutions.items():
        layers |= {name: layer, f"{name}_relu": nn.ReLU()}
    return nn.Sequential(layers)


def _stem(in_channels: int) -> Layers:
    return OrderedDict(
        conv1=nn.Conv2d(in_channels, 64, 7, stride=2, padding=3),  #   112 x 112 x 64
        relu1=nn.ReLU(),
        pool1=nn.MaxPool2d(3, stride=2, ceil_mode=True),  #             56 x 56 x 64
        norm1=LocalResponseNorm(),
        conv2_reduce=nn.Conv2d(64, 64, 1),  #                           56 x 56 x 64
        relu2_reduce=nn.ReLU(),
        conv2=nn.Conv2d(64, 192, 3, padding=1),  #                      56 x 56 x 192
        relu2=nn.ReLU(),
        norm2=LocalResponseNorm(),
        pool2=nn.MaxPool2d(3, stride=2, ceil_mode=True),  #             28 x 28 x 192
    )


def _size_in_head(trunk: Layers, input_size: Size) -> Size:
    try:
        return size_after(trunk | OrderedDict(auxiliary_pool=_auxiliary_pool()), input_size)
    except SizeError as error:
        raise SizeError(f"{error}, or leave the auxiliary heads out (auxiliary = false)") from None


def _auxiliary_pool() -> nn.AvgPool2d:
    return nn.AvgPool2d(5, stride=3)


def _auxiliary_head(maps: int, size: Size, num_classes: int, dropout: float) -> nn.Sequential:
    """The classifier beside the trunk that section 5 lists; size: of its pooled maps."""
    return nn.Sequential(
        OrderedDict(
            pool=_auxiliary_pool(),  #             4 x 4 x maps
            conv=nn.Conv2d(maps, 128, 1),  #       4 x 4 x 128
            conv_relu=nn.ReLU(),
            flatten=nn.Flatten(),
            hidden=nn.Linear(128 * size[0] * size[1], 1024),
            hidden_relu=nn.ReLU(),
            drop=nn.Dropout(dropout),
            fc=nn.Linear(1024, num_classes),
        )
    )


def _initialise(network: nn.Module) -> None:
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        elif isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
