"""The net without convolutions that the first lectures compare with."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from models.layers import Layers
from models.sizes import Size


def fully_connected(
    num_classes: int,
    in_channels: int,
    input_size: Size = (32, 32),
    *,
    hidden: Sequence[int] = (1024, 1024, 1024),
    bias: bool = True,
    dropout: float = 0.0,
) -> nn.Sequential:
    """(N, in_channels, *input_size) to logits, each unit joined to all before it; rectifiers, PyTorch's initialisation.

    With D = 1024 pixels, as many units in each hidden layer, one output and no biases: 3 * (D * D) + D parameters.

    hidden: units of each hidden layer; none of them makes a linear classifier.
    bias: have biases.
    dropout: share of each hidden layer's outputs that is zeroed in training.
    """
    layers: Layers = OrderedDict(flatten=nn.Flatten())
    units = in_channels * input_size[0] * input_size[1]
    for number, wanted in enumerate(hidden, start=1):
        layers[f"fc{number}"] = nn.Linear(units, wanted, bias=bias)
        layers[f"relu{number}"] = nn.ReLU()
        layers[f"drop{number}"] = nn.Dropout(dropout)
        units = wanted
    layers["output"] = nn.Linear(units, num_classes, bias=bias)
    return nn.Sequential(layers)
