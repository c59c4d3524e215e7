"""AlexNet: Krizhevsky, Sutskever, Hinton, ImageNet classification with deep convolutional neural networks (2012)."""

from collections import OrderedDict

from torch import nn

from models.layers import Layers, LocalResponseNorm, draw_weights, with_fully_connected
from models.sizes import Size

_BIASES_OF_1 = ("conv2", "conv4", "conv5", "fc6", "fc7")


def alexnet(
    num_classes: int, in_channels: int, input_size: Size = (227, 227), *, dropout: float = 0.5
) -> nn.Sequential:
    """One tower, as it is taught: (N, in_channels, *input_size) to logits; 62,378,344 parameters for ImageNet.

    Deviations from the paper's Fig. 2: one tower, so that conv2, conv4 and conv5 see all maps; normalisation after the
    pooling, not before (section 3.5); 227 pixels, not 224, which do not give the 55 x 55 of the text with this stride.

    dropout: share of FC6's and FC7's outputs that are zeroed in training; the paper's 0.5 (section 4.2).
    """
    return _alexnet(num_classes, in_channels, input_size, dropout, towers=1)


def alexnet_two_tower(
    num_classes: int, in_channels: int, input_size: Size = (227, 227), *, dropout: float = 0.5
) -> nn.Sequential:
    """The paper's Fig. 2, its two GPUs as two groups of maps; 60,965,224 parameters for ImageNet.

    Deviations: 227 pixels, see `alexnet`; normalisation sums over neighbours across the border of the groups, since the
    formula of section 3.3 counts all maps of a layer.

    dropout: as for `alexnet`.
    """
    return _alexnet(num_classes, in_channels, input_size, dropout, towers=2)


def _alexnet(num_classes: int, in_channels: int, input_size: Size, dropout: float, towers: int) -> nn.Sequential:
    features: Layers = OrderedDict(
        conv1=nn.Conv2d(in_channels, 96, 11, stride=4),  #             55 x 55 x 96
        relu1=nn.ReLU(),
        **_pooled_and_normalised(1, towers),  #                        27 x 27 x 96
        conv2=nn.Conv2d(96, 256, 5, padding=2, groups=towers),  #      27 x 27 x 256
        relu2=nn.ReLU(),
        **_pooled_and_normalised(2, towers),  #                        13 x 13 x 256
        conv3=nn.Conv2d(256, 384, 3, padding=1),  #                    13 x 13 x 384
        relu3=nn.ReLU(),
        conv4=nn.Conv2d(384, 384, 3, padding=1, groups=towers),  #     13 x 13 x 384
        relu4=nn.ReLU(),
        conv5=nn.Conv2d(384, 256, 3, padding=1, groups=towers),  #     13 x 13 x 256
        relu5=nn.ReLU(),
        pool5=nn.MaxPool2d(3, stride=2),  #                             6 x 6 x 256
    )
    network = with_fully_connected(features, 256, input_size, num_classes, dropout)
    _initialise(network)
    return network


def _pooled_and_normalised(number: int, towers: int) -> dict[str, nn.Module]:
    """Windows of 3 that move by 2, so that they overlap (section 3.4), before or after the normalisation."""
    pool: dict[str, nn.Module] = {f"pool{number}": nn.MaxPool2d(3, stride=2)}
    norm: dict[str, nn.Module] = {f"norm{number}": LocalResponseNorm()}
    return pool | norm if towers == 1 else norm | pool


def _initialise(network: nn.Sequential) -> None:
    """Section 5: weights from N(0, 0.01^2); biases 1 where they give the rectifiers positive inputs, else 0."""
    draw_weights(network, std=0.01)
    for name in _BIASES_OF_1:
        layer = network.get_submodule(name)
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        assert layer.bias is not None
        nn.init.ones_(layer.bias)
