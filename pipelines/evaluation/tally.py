"""Sums over images that all metrics follow from: errors, loss, confusion of classes, calibration."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.evaluation.outcomes import Integers, Outcomes

BINS = 15
"""Of confidence, equally wide, as Guo et al. 2017 have."""
BOOTSTRAP_DRAWS = 10_000

Sums = NDArray[np.float64]


class Tally:
    """Adds images up; the sums of several tallies are the tally of all their images.

    sums: float64 (4 + classes * classes + 3 * BINS,): loss, wrong for top-1, wrong for top-5, images; images by label
    and predicted class; images, confidence and right ones by bin of confidence.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.sums: Sums = np.zeros(4 + classes**2 + 3 * BINS)

    def add(self, seen: Outcomes) -> None:
        """N images."""
        right = seen.ranks == 0
        confusion = np.bincount(seen.labels * self.classes + seen.predicted, minlength=self.classes**2)
        # A NaN, which is right nowhere, is no confidence at all.
        confidences = np.nan_to_num(seen.confidences.astype(np.float64), nan=0)
        bins = np.clip(np.ceil(confidences * BINS).astype(int) - 1, 0, BINS - 1)
        by_bin = [np.bincount(bins, weights, BINS) for weights in (np.ones(len(bins)), confidences, right)]
        totals = [seen.losses.sum(dtype=np.float64), (~right).sum(), (seen.ranks >= 5).sum(), len(right)]
        self.sums += np.concatenate([totals, confusion, *by_bin])


@dataclass(frozen=True)
class Evaluation:
    """What a tally of all images says."""

    loss: float
    top1_error: float
    """A fraction, likewise the next."""
    top5_error: float
    images: int
    confusion: Integers
    """(classes, classes): images by label and predicted class."""
    bins: NDArray[np.float64]
    """(3, BINS): images, sum of confidences and right ones by bin of confidence."""

    @staticmethod
    def of(sums: Sums, classes: int) -> "Evaluation":
        """From the sums of all tallies; there is at least one image."""
        loss, wrong1, wrong5, images = sums[:4].tolist()
        confusion = sums[4 : -3 * BINS].reshape(classes, classes).astype(np.int64)
        bins = sums[-3 * BINS :].reshape(3, BINS)
        return Evaluation(loss / images, wrong1 / images, wrong5 / images, int(images), confusion, bins)

    @property
    def calibration_error(self) -> float:
        """The expected one: |accuracy - confidence|, averaged over bins by their images (Guo et al. 2017, Eq. 3)."""
        _, confidence, right = self.bins
        return float(np.abs(right - confidence).sum() / self.images)

    @property
    def class_accuracies(self) -> NDArray[np.float64]:
        """(classes,): the share of each label's images that are right; NaN where it has none."""
        images = self.confusion.sum(1)
        return np.divide(self.confusion.diagonal(), images, out=np.full(len(images), np.nan), where=images > 0)

    def confused_pairs(self, most: int) -> list[tuple[int, int, int]]:
        """(label, predicted, images), the most frequent mistakes first."""
        wrong = self.confusion.copy()
        np.fill_diagonal(wrong, 0)
        order = np.argsort(-wrong, axis=None, kind="stable")[:most]
        pairs = ((*divmod(int(place), len(wrong)), int(wrong.flat[place])) for place in order)
        return [pair for pair in pairs if pair[2]]

    def metrics(self) -> dict[str, float]:
        """By the names that runs have them under, without their prefix."""
        top1, top5 = interval(self.top1_error, self.images), interval(self.top5_error, self.images)
        return {
            "loss": self.loss,
            "top1_error": self.top1_error,
            "top1_error_low": top1[0],
            "top1_error_high": top1[1],
            "top5_error": self.top5_error,
            "top5_error_low": top5[0],
            "top5_error_high": top5[1],
            "calibration_error": self.calibration_error,
            "images": self.images,
        }


def interval(error: float, images: int, seed: int = 0) -> tuple[float, float]:
    """95% confidence interval of an error rate, by the bootstrap's percentiles (Efron 1979).

    Drawing so many images anew, with replacement, and counting the wrong ones among them is a draw from a binomial
    distribution; so those counts are drawn, not the images. An error of 0 has the interval [0, 0], as it has for every
    bootstrap: nothing among the images says that there are others.
    """
    wrong = np.random.default_rng(seed).binomial(images, error, BOOTSTRAP_DRAWS)
    low, high = np.percentile(wrong, [2.5, 97.5]) / images
    return float(low), float(high)
