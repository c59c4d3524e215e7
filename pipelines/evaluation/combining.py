"""The arithmetic of ensembles on an array of predictions: averages, curves, agreement. For Spark's tasks: numpy alone.

P stands for float32 (N, members, classes), the members' probabilities of N images. Sums are made in float64, where
those of rounded probabilities are exact, so that ties are ties in whatever order members are added.
"""

import math
from collections.abc import Sequence
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from pipelines.evaluation.outcomes import SMALLEST, Doubles, Floats, Integers, label_ranks


def averaged_values(P: Floats, of_logits: bool) -> Doubles:
    """What is averaged: probabilities, or their logarithms, which are the logits but for a constant an image."""
    values = P.astype(np.float64)
    return np.log(np.maximum(values, SMALLEST)) if of_logits else values


def combined(P: Floats, weights: Doubles, of_logits: bool) -> Doubles:
    """(N, classes): the ensemble's probabilities. weights: (members,), together 1."""
    mean: Doubles = np.einsum("nmc,m->nc", averaged_values(P, of_logits), weights)
    if not of_logits:
        return mean
    powers = np.exp(mean - mean.max(1, keepdims=True))
    result: Doubles = powers / powers.sum(1, keepdims=True)
    return result


def wrong_along(P: Floats, labels: Integers, orders: Integers, of_logits: bool) -> Doubles:
    """(orders, members, 2): how many of N images the first 1, 2, … members of each order get wrong, top-1 and top-5.

    orders: (orders, members), each row a permutation of the members.
    """
    values = averaged_values(P, of_logits)
    counts = []
    for order in orders:
        ranks = label_ranks(values[:, order].cumsum(1), labels)  # a sum has the ranks of its mean
        counts.append(np.stack([(ranks >= 1).sum(0), (ranks >= 5).sum(0)], 1))
    stacked: Doubles = np.stack(counts).astype(np.float64)
    return stacked


def wrong_with_each(P: Floats, labels: Integers, chosen: Sequence[int], of_logits: bool) -> NDArray[np.bool_]:
    """(N, members): whether the chosen members together with each one are wrong for top-1."""
    values = averaged_values(P, of_logits)
    of_chosen = values[:, list(chosen)].sum(1, keepdims=True)
    wrong: NDArray[np.bool_] = label_ranks(values + of_chosen, labels) >= 1
    return wrong


def agreeing(P: Floats) -> Doubles:
    """(members, members): for how many of N images two members find the same class most probable."""
    strongest = P.argmax(2)
    counts: Doubles = (strongest[:, :, None] == strongest[:, None]).sum(0, dtype=np.float64)
    return counts


def orders_of(members: int, most: int, seed: int) -> Integers:
    """(orders, members): all orders of the members if there are at most so many, else so many random ones."""
    if math.factorial(members) <= most:
        return np.array(list(permutations(range(members))))
    draws = np.random.default_rng(seed)
    return np.array([draws.permutation(members) for _ in range(most)])


def fit_weights(of_labels: Floats, steps: int = 1000, tolerance: float = 1e-7) -> Doubles:
    """(members,): the weights, together 1, whose average gives the labels the greatest likelihood.

    of_labels: (N, members), each member's probability of an image's label. By expectation maximisation for the shares
    of a mixture (Dempster et al. 1977), which climbs to the one maximum there is from equal weights.
    """
    likelihoods = np.maximum(of_labels.astype(np.float64), SMALLEST)
    weights = np.full(likelihoods.shape[1], 1 / likelihoods.shape[1])
    for _ in range(steps):
        shares = likelihoods * weights
        updated = (shares / shares.sum(1, keepdims=True)).mean(0)
        moved = np.abs(updated - weights).max()
        weights = updated
        if moved < tolerance:
            break
    return weights
