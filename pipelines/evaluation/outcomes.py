"""How predictions turned out, image by image: what metrics are made of. No torch in here: Spark's tasks have none."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]

SMALLEST = float(np.finfo(np.float32).tiny)
"""Taken for a probability of 0 where its logarithm is needed."""


@dataclass(frozen=True)
class Outcomes:
    """Of N images; each array is (N,)."""

    labels: Integers
    ranks: Integers
    """Other classes that score at least as high as the label: 0 is right for top-1, below 5 for top-5."""
    predicted: Integers
    """The strongest class; where another is as strong as the label, that other."""
    confidences: Floats | Doubles
    """The largest probability."""
    losses: Floats | Doubles
    """Minus the logarithm of the label's probability."""


def label_ranks(scores: Floats | Doubles, labels: Integers) -> Integers:
    """As `metrics.label_ranks` has it. scores (N, …, classes), labels (N,); returns (N, …)."""
    places = labels.reshape(-1, *[1] * (scores.ndim - 1))
    of_label = np.take_along_axis(scores, places, -1)
    ranks: Integers = (~np.less(scores, of_label)).sum(-1) - 1
    return ranks


def outcomes_of(probabilities: Floats | Doubles, labels: Integers) -> Outcomes:
    """probabilities (N, classes), labels (N,)."""
    ranks = label_ranks(probabilities, labels)
    rows = np.arange(len(labels))
    others = probabilities.copy()
    others[rows, labels] = -1
    predicted = np.where(ranks == 0, labels, others.argmax(1))
    losses = -np.log(np.maximum(probabilities[rows, labels], SMALLEST))
    return Outcomes(labels, ranks, predicted, probabilities.max(1), losses)
