"""ResNet: He, Zhang, Ren, Sun, Deep residual learning for image recognition (2016): Table 1, and section 4.2's."""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from models.layers import Layers
from models.sizes import Size

DEPTHS = {
    #            blocks in conv2_x, conv3_x, conv4_x, conv5_x
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
    "plain18": (2, 2, 2, 2),
    "plain34": (3, 4, 6, 3),
}
"""Table 1: 3x3-3x3 blocks in 18 and 34, 1x1-3x3-1x1 bottlenecks from 50 on. The plain twins are Fig. 3's middle."""
_BOTTLENECKS = ("resnet50", "resnet101", "resnet152")
_WIDTHS = (64, 128, 256, 512)

SMALL_DEPTHS = {"resnet20": 3, "resnet56": 9, "resnet110": 18}
"""Section 4.2: so many blocks in each of three stages, 6n + 2 layers."""
_SMALL_WIDTHS = (16, 32, 64)

Branch = Callable[[int, int, int], tuple[nn.Sequential, int]]
"""Input maps, width of the stage and stride to a block's layers and how many maps they give."""


def resnet(name: str, num_classes: int, in_channels: int, input_size: Size = (224, 224)) -> nn.Sequential:
    """The network of that row of DEPTHS: (N, in_channels, H, W) to logits; the average pooling takes any size.

    Shortcuts are projections where sizes change, else identities: option B of section 3.3. Weights are drawn as He et
    al. 2015 do, but the linear layer's as PyTorch does.
    Deviation: in bottlenecks the 3x3 convolution has the stride, not the first 1x1, as in Facebook's and torchvision's;
    ResNet-50 then has 4.09 billion multiply-adds, not 3.86.
    """
    block = plain_block if name.startswith("plain") else residual_block
    branch = bottleneck_branch if name in _BOTTLENECKS else basic_branch
    layers: Layers = OrderedDict(
        conv1=nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False),  #   112 x 112 x 64
        bn1=nn.BatchNorm2d(64),
        relu1=nn.ReLU(),
        pool1=nn.MaxPool2d(3, stride=2, padding=1),  #                              56 x 56 x 64
    )
    maps = _add_stages(layers, 64, _WIDTHS, DEPTHS[name], partial(block, branch))
    return _with_classifier(layers, maps, num_classes)


def small_resnet(name: str, num_classes: int, in_channels: int, input_size: Size = (32, 32)) -> nn.Sequential:
    """Section 4.2's, for CIFAR: (N, in_channels, H, W) to logits, of any size. Shortcuts have no weights (option A)."""
    layers: Layers = OrderedDict(
        conv1=nn.Conv2d(in_channels, 16, 3, padding=1, bias=False),  #   32 x 32 x 16
        bn1=nn.BatchNorm2d(16),
        relu1=nn.ReLU(),
    )
    depths = (SMALL_DEPTHS[name],) * len(_SMALL_WIDTHS)
    maps = _add_stages(layers, 16, _SMALL_WIDTHS, depths, partial(residual_block, basic_branch, project=False))
    return _with_classifier(layers, maps, num_classes)


def _add_stages(
    layers: Layers,
    maps: int,
    widths: tuple[int, ...],
    depths: tuple[int, ...],
    block: Callable[[int, int, int], tuple[nn.Module, int]],
) -> int:
    """Append conv2_x, conv3_x and so on to `layers`; how many maps the last one gives."""
    for number, (width, depth) in enumerate(zip(widths, depths, strict=True), start=2):
        blocks: list[nn.Module] = []
        for place in range(depth):
            made, maps = block(maps, width, 2 if number > 2 and place == 0 else 1)
            blocks.append(made)
        layers[f"conv{number}_x"] = nn.Sequential(*blocks)
    return maps


def basic_branch(maps: int, width: int, stride: int) -> tuple[nn.Sequential, int]:
    """Fig. 5, left."""
    layers = OrderedDict(
        conv1=nn.Conv2d(maps, width, 3, stride, padding=1, bias=False),
        bn1=nn.BatchNorm2d(width),
        relu1=nn.ReLU(),
        conv2=nn.Conv2d(width, width, 3, padding=1, bias=False),
        bn2=nn.BatchNorm2d(width),
    )
    return nn.Sequential(layers), width


def bottleneck_branch(maps: int, width: int, stride: int) -> tuple[nn.Sequential, int]:
    """Fig. 5, right."""
    layers = OrderedDict(
        conv1=nn.Conv2d(maps, width, 1, bias=False),
        bn1=nn.BatchNorm2d(width),
        relu1=nn.ReLU(),
        conv2=nn.Conv2d(width, width, 3, stride, padding=1, bias=False),
        bn2=nn.BatchNorm2d(width),
        relu2=nn.ReLU(),
        conv3=nn.Conv2d(width, 4 * width, 1, bias=False),
        bn3=nn.BatchNorm2d(4 * width),
    )
    return nn.Sequential(layers), 4 * width


def residual_block(branch: Branch, maps: int, width: int, stride: int, project: bool = True) -> tuple[nn.Module, int]:
    """A branch with its shortcut; how many maps it gives."""
    layers, wider = branch(maps, width, stride)
    if stride == 1 and maps == wider:
        return Residual(layers, nn.Identity()), wider
    if not project:
        return Residual(layers, Subsampled(stride, wider - maps)), wider
    projection = OrderedDict(conv=nn.Conv2d(maps, wider, 1, stride, bias=False), bn=nn.BatchNorm2d(wider))
    return Residual(layers, nn.Sequential(projection)), wider


def plain_block(branch: Branch, maps: int, width: int, stride: int) -> tuple[nn.Module, int]:
    """A branch without shortcut; how many maps it gives."""
    layers, wider = branch(maps, width, stride)
    return nn.Sequential(OrderedDict(branch=layers, relu=nn.ReLU())), wider


class Residual(nn.Module):
    """relu(F(x) + shortcut(x)), equations 1 and 2."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut
        self.relu = nn.ReLU()

    def forward(self, maps_NCHW: Tensor) -> Tensor:
        result: Tensor = self.relu(self.branch(maps_NCHW) + self.shortcut(maps_NCHW))
        return result


class Subsampled(nn.Module):
    """Option A's shortcut: every stride-th pixel, and maps of zeros for those that the input does not have."""

    def __init__(self, stride: int, more_maps: int) -> None:
        super().__init__()
        self.stride, self.more_maps = stride, more_maps

    def forward(self, maps_NCHW: Tensor) -> Tensor:
        return F.pad(maps_NCHW[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more_maps))


def _with_classifier(layers: Layers, maps: int, num_classes: int) -> nn.Sequential:
    layers |= OrderedDict(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), fc=nn.Linear(maps, num_classes))
    network = nn.Sequential(layers)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return network
