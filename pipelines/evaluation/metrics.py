"""Top-1 and top-5 error and loss, summed over images so that every image counts once for any number of workers."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

SumOverWorkers = Callable[[Tensor], Tensor]


class NamedImages(Protocol):
    """This worker's part of a batch, on its device: images uint8 (N, H, W, C), labels int64 (N,), N keys.

    Of ten crops, images are (N, 10, H, W, C).
    Keys are empty, and labels -1, where padding.
    """

    @property
    def images(self) -> Tensor: ...
    @property
    def labels(self) -> Tensor: ...
    @property
    def keys(self) -> tuple[str, ...]: ...


class Prediction(NamedTuple):
    """What a network says of N images."""

    keys: list[str]
    labels: Tensor
    """(N,)"""
    logits: Tensor
    """(N, classes), on the labels' device; their softmax are the probabilities."""


def predict(model: nn.Module, batches: Iterable[NamedImages]) -> Iterator[Prediction]:
    """The predictions of each batch without its padding."""
    model.eval()
    for batch in batches:
        real = real_places(batch.keys)
        if not real:
            continue
        images, labels = batch.images, batch.labels
        if len(real) < len(batch.keys):
            images, labels = images[real], labels[real]
        with torch.no_grad():
            logits = scores_of_views(model, images)
        yield Prediction([batch.keys[place] for place in real], labels, logits)


def real_places(keys: Sequence[str]) -> list[int]:
    """Where a batch has an image, not padding.

    By the keys, which the host has: to look into the labels would be to wait for the device, batch by batch.
    """
    return [place for place, key in enumerate(keys) if key]


def scores_of_views(model: nn.Module, images: Tensor) -> Tensor:
    """Logits (N, classes) of images (N, H, W, C), or of all views (N, V, H, W, C) of each image.

    Krizhevsky et al. 2012 (AlexNet), section 4.1, for ten crops.
    """
    if images.dim() < 5:
        logits: Tensor = model(images)
        return logits
    return average_of(model(images.flatten(0, 1)).unflatten(0, images.shape[:2]).unbind(1))


def average_of(logits: Sequence[Tensor]) -> Tensor:
    """The logarithm of the mean of the probabilities that each (N, classes) stands for; one alone stays as it is."""
    if len(logits) == 1:
        return logits[0]
    return torch.stack([each.log_softmax(1) for each in logits]).logsumexp(0) - math.log(len(logits))


def label_ranks(scores: Tensor, labels: Tensor) -> Tensor:
    """How many other classes score at least as high as the label's: 0 is right for top-1, below 5 for top-5.

    scores (N, classes), labels (N,). A tie counts against the network, and so does a NaN.
    """
    of_label = scores.gather(1, labels[:, None])
    return (~(scores < of_label)).sum(1) - 1


class Totals:
    """Sums over images, on their device; `metrics` turns the sums of all workers into averages."""

    def __init__(self) -> None:
        self._sums = torch.zeros(4, dtype=torch.float64)

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """logits (N, classes), labels (N,), no padding."""
        ranks = label_ranks(logits, labels)
        loss = cross_entropy(logits, labels, reduction="sum")
        sums = [loss, (ranks >= 1).sum(), (ranks >= 5).sum(), torch.ones_like(ranks).sum()]
        self._sums = self._sums.to(logits.device) + torch.stack([each.double() for each in sums])

    def metrics(self, sum_over_workers: SumOverWorkers) -> dict[str, float]:
        """val_loss, val_top1_error, val_top5_error (fractions) and val_images, over all workers."""
        loss, wrong1, wrong5, images = sum_over_workers(self._sums.cpu()).tolist()
        return {
            "val_loss": loss / images,
            "val_top1_error": wrong1 / images,
            "val_top5_error": wrong5 / images,
            "val_images": images,
        }


def validate(model: nn.Module, batches: Iterable[NamedImages], sum_over_workers: SumOverWorkers) -> dict[str, float]:
    """Metrics of the model over the batches of all workers."""
    totals = Totals()
    for _, labels, logits in predict(model, batches):
        totals.add(logits, labels)
    return totals.metrics(sum_over_workers)
