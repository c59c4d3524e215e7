"""Two images in one, for training: MixUp and CutMix, drawn once a step for the whole global batch, on the device.

An image's partner is the next one of its lane (docs/adr/0003), and a worker has its lanes whole: so a global batch is
mixed in the same way by any number of workers.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from models.classifier import Loss
from models.heads import Outputs, heads_of
from pipelines.config import TrainSettings

_MIXING = 3
"""The purpose of these draws; 0 to 2 are the epoch plan's."""


@dataclass(frozen=True)
class Mixed:
    """A batch to train on."""

    images: Tensor
    """(N, H, W, C) with pixels 0 to 255: uint8, or float32 where images are blended."""
    shares: tuple[tuple[float, Tensor], ...]
    """(share, labels int64 (N,)): how much of each image is of which class, the largest share first; their sum is 1."""

    @property
    def labels(self) -> Tensor:
        """Of the largest share: what training's top-1 error is against."""
        return self.shares[0][1]

    def loss(self, outputs: Outputs, label_smoothing: float, loss: Loss = cross_entropy) -> Tensor:
        """The mean loss against the labels, each counted by its share, summed over heads by their weight.

        label_smoothing: what a label gives up to all classes evenly (Szegedy et al. 2016, section 7).
        """
        weighted = [
            (head.weight * share, loss(head.logits, labels, label_smoothing=label_smoothing))
            for head in heads_of(outputs)
            for share, labels in self.shares
        ]
        if [weight for weight, _ in weighted] == [1]:  # as most often: no kernels to make the same of it
            return weighted[0][1]
        return torch.stack([weight * part for weight, part in weighted]).sum()

    def parts(self, count: int) -> list["Mixed"]:
        """Cut into micro-batches of equal size, in order; `count` divides the number of images."""
        if count == 1:
            return [self]
        images = self.images.chunk(count)
        labels = [[(share, part) for part in labels.chunk(count)] for share, labels in self.shares]
        return [Mixed(*part) for part in zip(images, zip(*labels, strict=True), strict=True)]


Mix = Callable[[Tensor, Tensor, int], Mixed]
"""images (N, H, W, C), labels (N,) and the step, counted through all epochs, to what is trained on."""


def unmixed(images_NHWC: Tensor, labels: Tensor, step: int) -> Mixed:
    """Each image as it is."""
    return Mixed(images_NHWC, ((1.0, labels),))


Way = Callable[[Tensor, Tensor, np.random.Generator], tuple[Tensor, float]]
"""uint8 images and their partners, both (N, H, W, C), to mixed images and the share that is the images' own."""


@dataclass(frozen=True)
class MixUp:
    """Blends images (Zhang et al. 2018, section 2), on the pixels' scale.

    It gives float32: rounding a blend back to grey levels would lose what normalising, which comes after, must keep.
    Normalising is affine and the shares sum to 1, so the result is the blend of the normalised images.
    """

    alpha: float

    def __call__(self, images_NHWC: Tensor, partners_NHWC: Tensor, draws: np.random.Generator) -> tuple[Tensor, float]:
        share = draws.beta(self.alpha, self.alpha)
        return torch.mul(images_NHWC, share).add_(partners_NHWC, alpha=1 - share), share


@dataclass(frozen=True)
class CutMix:
    """Pastes a box of the partner into each image (Yun et al. 2019, section 3.1); pixels stay uint8."""

    alpha: float

    def __call__(self, images_NHWC: Tensor, partners_NHWC: Tensor, draws: np.random.Generator) -> tuple[Tensor, float]:
        _, height, width, _ = images_NHWC.shape
        rows, columns = box(draws.beta(self.alpha, self.alpha), height, width, draws)
        mixed = images_NHWC.clone()
        mixed[:, rows, columns] = partners_NHWC[:, rows, columns]
        pasted = (rows.stop - rows.start) * (columns.stop - columns.start)
        return mixed, 1 - pasted / (height * width)


def box(share: float, height: int, width: int, draws: np.random.Generator) -> tuple[slice, slice]:
    """Rows and columns of a box over 1 - share of an image, but for what falls outside (Yun et al. 2019, equation 2).

    Its centre is drawn evenly over the image. The authors' code rounds its sides down to even numbers; this does not,
    for on a small image that would paste nothing most of the time.
    """
    spans = []
    for length in (height, width):
        side = int(length * math.sqrt(1 - share))
        start = int(draws.integers(length)) - side // 2
        spans.append(slice(max(0, start), min(length, start + side)))
    return spans[0], spans[1]


@dataclass(frozen=True)
class Mixing:
    """Each step one of the ways, all with equal probability."""

    ways: tuple[Way, ...]
    rows_per_lane: int
    """A worker's batch is its lanes' rows, one lane after another."""
    seed: int

    def __call__(self, images_NHWC: Tensor, labels: Tensor, step: int) -> Mixed:
        draws = np.random.Generator(np.random.Philox(counter=[0, step, 0, 0], key=[self.seed, _MIXING]))
        way = self.ways[draws.integers(len(self.ways))]
        images, share = way(images_NHWC, self._partners(images_NHWC), draws)
        shares = ((share, labels), (1 - share, self._partners(labels)))
        return Mixed(images, shares if share >= 0.5 else shares[::-1])

    def _partners(self, rows: Tensor) -> Tensor:
        lanes = rows.view(-1, self.rows_per_lane, *rows.shape[1:])
        return lanes.roll(1, 1).view(rows.shape)


def make_mix(settings: TrainSettings) -> Mix:
    """What `mixing` asks for."""
    wanted = (MixUp(settings.mixing.mixup_alpha), CutMix(settings.mixing.cutmix_alpha))
    ways = tuple(way for way in wanted if way.alpha > 0)
    rows_per_lane = settings.loader.global_batch // settings.loader.lanes
    return Mixing(ways, rows_per_lane, settings.seed) if ways else unmixed
