"""VGG: Simonyan, Zisserman, Very deep convolutional networks for large-scale image recognition (2015), Table 1."""

from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor, nn

from models.layers import Layers, LocalResponseNorm, with_fully_connected
from models.sizes import Size

TABLE = {
    "vgg_a": ("3-64", "3-128", "3-256 3-256", "3-512 3-512", "3-512 3-512"),
    "vgg_a_lrn": ("3-64 LRN", "3-128", "3-256 3-256", "3-512 3-512", "3-512 3-512"),
    "vgg_b": ("3-64 3-64", "3-128 3-128", "3-256 3-256", "3-512 3-512", "3-512 3-512"),
    "vgg_c": ("3-64 3-64", "3-128 3-128", "3-256 3-256 1-256", "3-512 3-512 1-512", "3-512 3-512 1-512"),
    "vgg_d": ("3-64 3-64", "3-128 3-128", "3-256 3-256 3-256", "3-512 3-512 3-512", "3-512 3-512 3-512"),
    "vgg_e": ("3-64 3-64", "3-128 3-128", *["3-256 " * 4], *["3-512 " * 4] * 2),
}
"""A row a network, a column a stage, each stage ended by a pooling; `3-64` is the paper's conv3-64: 3 x 3, 64 maps."""


def vgg(
    name: str,
    num_classes: int,
    in_channels: int,
    input_size: Size = (224, 224),
    *,
    dropout: float = 0.5,
    batch_norm: bool = False,
) -> nn.Sequential:
    """The network of that row: (N, in_channels, *input_size) to logits.

    conv3_2 is the second convolution of the third stage, as the field calls it. Weights are drawn as Glorot and Bengio
    do, which section 3.1 found to do without starting from A (`started_from_a`); biases are 0. A deviation for A, whose
    own weights it says had a variance of 10^-2.

    dropout: share of FC6's and FC7's outputs that are zeroed in training; the paper's 0.5.
    batch_norm: normalise after each convolution (Ioffe and Szegedy 2015), which came after the paper.
    """
    features: Layers = OrderedDict()
    channels = in_channels
    for stage, column in enumerate(TABLE[name], start=1):
        entries = column.split()
        for number, entry in enumerate(entry for entry in entries if entry != "LRN"):
            place = f"{stage}_{number + 1}"
            kernel, maps = (int(word) for word in entry.split("-"))
            features[f"conv{place}"] = nn.Conv2d(channels, maps, kernel, padding=kernel // 2)
            if batch_norm:
                features[f"bn{place}"] = nn.BatchNorm2d(maps)
            features[f"relu{place}"] = nn.ReLU()
            channels = maps
        if "LRN" in entries:
            features[f"norm{stage}"] = LocalResponseNorm()
        features[f"pool{stage}"] = nn.MaxPool2d(2)
    network = with_fully_connected(features, channels, input_size, num_classes, dropout)
    _initialise(network)
    return network


def _initialise(network: nn.Sequential) -> None:
    for layer in network:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)


_FROM_A = ("conv1_1", "conv2_1", "conv3_1", "conv3_2", "fc6", "fc7", "fc8")
"""A's first four convolutions and its fully connected layers. Deeper networks have layers of these names and shapes."""


def started_from_a(fresh: Mapping[str, Tensor], trained_a: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a deeper network that is to be trained, as section 3.1 starts it, from A's.

    fresh: the deeper network's, whose other layers keep their weights; with batch_norm if A's has it.
    Raises ValueError that names the weight if the two were made for other classes, channels or sizes.
    """
    started = dict(fresh)
    layers = (*_FROM_A, *(name.replace("conv", "bn") for name in _FROM_A if name.startswith("conv")))
    for key, weight in trained_a.items():
        if key.partition(".")[0] not in layers:
            continue
        if key not in fresh or fresh[key].shape != weight.shape:
            there = f"is {tuple(fresh[key].shape)}" if key in fresh else "does not exist"
            raise ValueError(
                f"{key} is {tuple(weight.shape)} in A and {there} in the network to start: "
                "make both for the same classes, channels, input size and batch_norm"
            )
        started[key] = weight.clone()
    return started
