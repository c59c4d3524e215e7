"""Small networks and batches for tests of visualization."""

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import nn

from models.classifier import Classifier


@dataclass
class Batch:
    images: torch.Tensor
    labels: torch.Tensor
    keys: tuple[str, ...]
    rows: torch.Tensor


def batches(images, size, labels=None):
    """The images, of which the last batch is padded with zeros, as the loader pads."""
    labels = torch.zeros(len(images), dtype=torch.int64) if labels is None else labels
    for start in range(0, len(images), size):
        real = min(size, len(images) - start)
        padding = size - real
        yield Batch(
            torch.cat([images[start : start + real], images.new_zeros(padding, *images.shape[1:])]),
            torch.cat([labels[start : start + real], labels.new_full((padding,), -1)]),
            (*(f"image-{start + place}" for place in range(real)), *[""] * padding),
            torch.tensor([*range(start, start + real), *[-1] * padding]),
        )


def blob_finder():
    """Its one convolution sums 5 x 5 pixels less a threshold; nothing is trained. Grey 24 x 24 to two logits."""
    network = nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(1, 2, 5, padding=2),
            relu=nn.ReLU(inplace=True),
            pool=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            output=nn.Linear(2 * 12 * 12, 2, bias=False),
        )
    )
    with torch.no_grad():
        network.conv.weight[0] = 1  # bright things
        network.conv.weight[1] = -1  # dark ones, of which there are none
        network.conv.bias.fill_(-2.0)
        network.output.weight.zero_()
        network.output.weight[0, : 12 * 12] = 0.1  # class 0: something bright is there
    return network.eval()


def black_images(*blobs, side=24):
    """uint8 (N, side, side, 1): one white square of 5 x 5 each, its top left corner given."""
    images = torch.zeros(len(blobs), side, side, 1, dtype=torch.uint8)
    for image, (top, left) in zip(images, blobs, strict=True):
        image[top : top + 5, left : left + 5] = 255
    return images


def classifier(network):
    """One whose normalisation leaves pixels between 0 and 1."""
    return Classifier(network, [0.0], [1.0]).eval()


class Graph(nn.Module):
    """A shortcut, one rectifier called twice, branches that are concatenated, batch norm and a sum in place."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.left = nn.Conv2d(8, 4, 1)
        self.right = nn.Conv2d(8, 4, 3, padding=1)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.output = nn.Linear(8, 5)

    def forward(self, x):
        x = self.pool(self.relu(self.norm(self.stem(x))))
        branches = torch.cat([self.left(x), self.right(x)], 1)
        branches += x
        return self.output(self.relu(branches).mean((2, 3)))
