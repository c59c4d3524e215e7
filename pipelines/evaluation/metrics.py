"""Top-1 and top-5 error and loss, summed over images so that every image counts once for any number of workers."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

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


def predict(model: nn.Module, batches: Iterable[NamedImages]) -> Iterator[tuple[list[str], Tensor, Tensor]]:
    """(keys, labels, logits) of each batch without its padding; labels and logits on the batches' device."""
    model.eval()
    for batch in batches:
        # By the keys, which the host has: to look into the labels would be to wait for the device, batch by batch.
        real = [place for place, key in enumerate(batch.keys) if key]
        if not real:
            continue
        images, labels = batch.images, batch.labels
        if len(real) < len(batch.keys):
            images, labels = images[real], labels[real]
        with torch.no_grad():
            logits = _logits(model, images)
        yield [batch.keys[place] for place in real], labels, logits


def _logits(model: nn.Module, images: Tensor) -> Tensor:
    """Of views (N, V, H, W, C) of each image, the logarithm of the mean of their probabilities.

    Krizhevsky et al. 2012 (AlexNet), section 4.1, for ten crops.
    """
    if images.dim() < 5:
        logits: Tensor = model(images)
        return logits
    of_views: Tensor = model(images.flatten(0, 1)).softmax(1)
    views = images.shape[1]
    return of_views.view(-1, views, of_views.shape[1]).mean(1).log()


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


def validate(
    model: nn.Module,
    batches: Iterable[NamedImages],
    sum_over_workers: SumOverWorkers,
    store: Callable[[list[str], Tensor, Tensor], None] | None = None,
) -> dict[str, float]:
    """Metrics of the model over the batches of all workers.

    store: is given (keys, labels (N,), probabilities (N, classes)) of this worker's images, batch by batch.
    """
    totals = Totals()
    for keys, labels, logits in predict(model, batches):
        totals.add(logits, labels)
        if store:
            store(keys, labels, logits.softmax(1))
    return totals.metrics(sum_over_workers)
