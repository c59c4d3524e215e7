"""ZFNet: Zeiler, Fergus, Visualizing and understanding convolutional networks (2014), Fig. 3 and section 4.2."""

from collections import OrderedDict

from torch import nn

from models.layers import LocalResponseNorm, draw_weights, with_fully_connected
from models.sizes import Size


def zfnet(num_classes: int, in_channels: int, input_size: Size = (224, 224), *, dropout: float = 0.5) -> nn.Sequential:
    """Fig. 3: (N, in_channels, *input_size) to logits; 62,357,608 parameters for ImageNet.

    What the figure leaves open is chosen so that its sizes come out: conv1 is padded by 1, and pooling keeps a last
    window that hangs over the edge. Its "contrast normalised across feature maps" is AlexNet's response normalisation.
    Section 3's "weights 10^-2" is read as N(0, 0.01^2). Deviation: filters whose RMS passes 0.1 are not scaled back.

    dropout: share of FC6's and FC7's outputs that are zeroed in training; the paper's 0.5.
    """
    return _zfnet(num_classes, in_channels, input_size, dropout, (384, 384, 256))


def zfnet_large(
    num_classes: int, in_channels: int, input_size: Size = (224, 224), *, dropout: float = 0.5
) -> nn.Sequential:
    """With 512, 1024 and 512 maps in conv3, 4, 5 (Table 2's last single network); 107,627,624 parameters for ImageNet.

    Otherwise as `zfnet`.
    """
    return _zfnet(num_classes, in_channels, input_size, dropout, (512, 1024, 512))


def _zfnet(
    num_classes: int, in_channels: int, input_size: Size, dropout: float, maps: tuple[int, int, int]
) -> nn.Sequential:
    maps3, maps4, maps5 = maps
    features = OrderedDict(
        conv1=nn.Conv2d(in_channels, 96, 7, stride=2, padding=1),  #   110 x 110 x 96
        relu1=nn.ReLU(),
        pool1=nn.MaxPool2d(3, stride=2, ceil_mode=True),  #             55 x 55 x 96
        norm1=LocalResponseNorm(),
        conv2=nn.Conv2d(96, 256, 5, stride=2),  #                       26 x 26 x 256
        relu2=nn.ReLU(),
        pool2=nn.MaxPool2d(3, stride=2, ceil_mode=True),  #             13 x 13 x 256
        norm2=LocalResponseNorm(),
        conv3=nn.Conv2d(256, maps3, 3, padding=1),  #                   13 x 13 x 384
        relu3=nn.ReLU(),
        conv4=nn.Conv2d(maps3, maps4, 3, padding=1),  #                 13 x 13 x 384
        relu4=nn.ReLU(),
        conv5=nn.Conv2d(maps4, maps5, 3, padding=1),  #                 13 x 13 x 256
        relu5=nn.ReLU(),
        pool5=nn.MaxPool2d(3, stride=2, ceil_mode=True),  #              6 x 6 x 256
    )
    network = with_fully_connected(features, maps5, input_size, num_classes, dropout)
    draw_weights(network, std=0.01)
    return network
