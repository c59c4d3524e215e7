"""Occlusion: what an answer loses where the image is covered (Zeiler and Fergus 2014, section 4.2)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipelines.visualization.layers import outputs_of


@dataclass(frozen=True)
class Occlusion:
    """What a network gives with a square over the image, by the place of the square's centre.

    Place (r, c) of each is for the centre of the block of stride x stride pixels from (r * stride, c * stride) on.
    """

    probabilities: Tensor
    """(rows, columns, classes)."""
    activations: Tensor
    """(rows, columns): sum over the observed feature map."""
    stride: int

    @property
    def classes(self) -> Tensor:
        """int64 (rows, columns): the most probable class."""
        return self.probabilities.argmax(2)


@torch.no_grad()
def occlude(
    network: nn.Module,
    image_CHW: Tensor,
    size: int,
    stride: int,
    layer: str,
    feature_map: int,
    batch: int = 64,
) -> Occlusion:
    """Move a square of `size` pixels over the image in steps of `stride`; at the borders a part of it is outside.

    image_CHW: as the network gets it, so that 0, the mean colour of the training images, is the square's grey.
    layer, feature_map: whose total activation is observed, as in the paper's Fig. 6 (b).
    """
    height, width = image_CHW.shape[1:]
    tops, lefts = ([start + (stride - size) // 2 for start in range(0, side, stride)] for side in (height, width))
    corners = torch.tensor([(top, left) for top in tops for left in lefts])
    probabilities, activations = [], []
    with outputs_of(network, [layer]) as outputs:
        for chunk in corners.split(batch):
            logits = network(_covered(image_CHW, chunk, size))
            probabilities.append(logits.softmax(1).cpu())
            activations.append(outputs[layer][:, feature_map].sum((1, 2)).cpu())
    shape = (len(tops), len(lefts))
    return Occlusion(torch.cat(probabilities).view(*shape, -1), torch.cat(activations).view(shape), stride)


def _covered(image_CHW: Tensor, corners: Tensor, size: int) -> Tensor:
    """(N, C, H, W): the image with a square of zeros at each corner (top, left)."""
    images = image_CHW.repeat(len(corners), 1, 1, 1)
    for image, (top, left) in zip(images, corners.tolist(), strict=True):
        image[:, max(top, 0) : max(top + size, 0), max(left, 0) : max(left + size, 0)] = 0
    return images
