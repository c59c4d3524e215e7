"""Errors as their papers published them. None of these figures was measured here."""

from dataclasses import dataclass

_ALEXNET = "Krizhevsky et al. 2012, Table 2"
_ZFNET = "Zeiler and Fergus 2014, Table 2"
_VGG_ONE_SCALE = "Simonyan and Zisserman 2015, Table 3"
_VGG_CROPS = "Simonyan and Zisserman 2015, Table 5"
_GOOGLENET = "Szegedy et al. 2015, Table 3"
_RESNET = "He et al. 2016, Table 3"
_TORCHVISION = "torchvision's weights"


@dataclass(frozen=True)
class Published:
    """Errors in percent; on ImageNet's validation images unless `images` says otherwise."""

    network: str
    protocol: str
    """What was averaged: networks, crops, scales."""
    top1: float | None
    top5: float | None
    source: str
    images: str = "ImageNet"


PUBLISHED = (
    Published("lenet5", "1 net", 0.95, None, "LeCun et al. 1998, section III", "MNIST"),
    Published("lenet5", "1 net, distorted training data", 0.8, None, "LeCun et al. 1998, section III", "MNIST"),
    Published("alexnet_two_tower", "1 net", 40.7, 18.2, _ALEXNET),
    Published("alexnet_two_tower", "5 nets", 38.1, 16.4, _ALEXNET),
    Published("alexnet_two_tower", "7 nets, two pre-trained on ImageNet 2011", 36.7, 15.4, _ALEXNET),
    Published("zfnet_large", "1 net", 37.5, 16.0, _ZFNET),
    Published("zfnet_large", "6 nets, zfnet among them", 36.0, 14.7, _ZFNET),
    Published("vgg_a", "one scale", 29.6, 10.4, _VGG_ONE_SCALE),
    Published("vgg_a_lrn", "one scale", 29.7, 10.5, _VGG_ONE_SCALE),
    Published("vgg_b", "one scale", 28.7, 9.9, _VGG_ONE_SCALE),
    Published("vgg_c", "one scale", 27.3, 8.8, _VGG_ONE_SCALE),
    Published("vgg_d", "one scale", 25.6, 8.1, _VGG_ONE_SCALE),
    Published("vgg_d", "dense and multi-crop", 24.4, 7.2, _VGG_CROPS),
    Published("vgg_d", "centre crop", 28.41, 9.62, _TORCHVISION),
    Published("vgg_e", "one scale", 25.5, 8.0, _VGG_ONE_SCALE),
    Published("vgg_e", "dense and multi-crop", 24.4, 7.1, _VGG_CROPS),
    Published("vgg_d + vgg_e", "dense and multi-crop", 23.7, 6.8, _VGG_CROPS),
    Published("googlenet", "1 crop", None, 10.07, _GOOGLENET),
    Published("googlenet", "7 nets, 144 crops", None, 6.67, _GOOGLENET),
    Published("resnet18", "centre crop", 30.24, 10.92, _TORCHVISION),
    Published("resnet34", "10 crops", 24.52, 7.46, _RESNET),
    Published("resnet50", "10 crops", 22.85, 6.71, _RESNET),
    Published("resnet50", "centre crop", 23.85, 7.13, _TORCHVISION),
    Published("resnet101", "10 crops", 21.75, 6.05, _RESNET),
    Published("resnet152", "10 crops", 21.43, 5.71, _RESNET),
)
"""Of a network's entries the first is the plainest way of testing that its paper reports.

torchvision's AlexNet (43.45/20.91) is left out: it is another network, Krizhevsky's of 2014.
"""


def plainest(network: str) -> Published | None:
    """The entry of one network that a comparison shows; None if there is none for it."""
    return next((entry for entry in PUBLISHED if entry.network == network), None)
