"""A network slid over images larger than those it was made for: its fully connected layers as convolutions.

Sermanet et al. 2014 (OverFeat); Simonyan and Zisserman 2015 (VGG), section 3.2.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d

from models.googlenet import GoogLeNet
from models.sizes import Size


class Dense(nn.Module):
    """Images float32 (N, C, H, W) of any size from `input_size` on to maps of class scores (N, classes, h, w).

    What holds exactly, for every network here: the score at a place is what the classifier makes of the window of
    feature maps that begins there, where a window is as large as the feature maps of an image of `input_size`. In a
    network without padding that is the score of the image's own crop. With padding it is not: a crop has zeros where
    the image has its surroundings, which is the difference between dense evaluation and crops that VGG's section 3.2
    speaks of. An average over all of the feature maps becomes one over each window.

    The weights are the network's own, not copies. For evaluation: dropout is left out.
    network: one of this package, in evaluation mode.
    """

    def __init__(self, network: nn.Module, in_channels: int, input_size: Size) -> None:
        super().__init__()
        layers = _one_after_another(network)
        flatten = next(place for place, layer in enumerate(layers) if isinstance(layer, nn.Flatten))
        features, classifier = layers[:flatten], layers[flatten + 1 :]
        self._averages = bool(features) and isinstance(features[-1], nn.AdaptiveAvgPool2d)
        self.features = nn.Sequential(*(features[:-1] if self._averages else features))
        first, *others = (layer for layer in classifier if not isinstance(layer, nn.Dropout))
        assert isinstance(first, nn.Linear), first
        self.first = first
        self.others = nn.Sequential(*others)
        with torch.no_grad():
            image = torch.zeros((1, in_channels, *input_size), device=first.weight.device)
            self.window: Size = tuple(self.features(image).shape[2:])
        """Of the feature maps of an image of `input_size`."""

    def forward(self, images_NCHW: Tensor) -> Tensor:
        maps, window = self.features(images_NCHW), self.window
        if self._averages:
            maps, window = avg_pool2d(maps, window, stride=1), (1, 1)
        maps = conv2d(maps, self.first.weight.unflatten(1, (-1, *window)), self.first.bias)
        count, _, height, width = maps.shape
        at_places = self.others(maps.permute(0, 2, 3, 1).flatten(0, 2))  # as convolutions of 1 x 1 do
        scores: Tensor = at_places.unflatten(0, (count, height, width)).permute(0, 3, 1, 2)
        return scores


def _one_after_another(network: nn.Module) -> list[nn.Module]:
    """The layers that an image passes in evaluation."""
    if isinstance(network, GoogLeNet):
        return [*network.trunk, *network.classifier]
    assert isinstance(network, nn.Sequential), network
    return list(network)
