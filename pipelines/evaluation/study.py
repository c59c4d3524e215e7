"""What is asked of an ensemble: its errors, its members', how they fall with more of them, who agrees with whom."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pyspark.sql import DataFrame

from pipelines.config import EnsembleSettings
from pipelines.evaluation.combining import orders_of
from pipelines.evaluation.ensemble import Together, of_part
from pipelines.evaluation.members import Errors, errors
from pipelines.evaluation.outcomes import Doubles
from pipelines.evaluation.tally import Evaluation


@dataclass(frozen=True)
class Greedy:
    """A selection of members, made on one half of the images and judged on the other."""

    members: list[str]
    """Runs, in the order in which they were taken."""
    errors: Doubles
    """(members, 2): top-1 and top-5 error on the other half, with the first 1, 2, …"""


@dataclass(frozen=True)
class Study:
    """All about one ensemble. Errors are fractions."""

    runs: list[str]
    of_members: dict[str, Errors]
    """By run, on the images that the ensemble is judged by."""
    weights: Doubles
    """(members,), in the order of `runs`."""
    evaluation: Evaluation
    curve: Doubles
    """(orders, members, 2): top-1 and top-5 error of the plain average of the first 1, 2, … members of each order."""
    agreement: Doubles
    """(members, members): the share of images for which both find the same class most probable."""
    greedy: Greedy | None

    @property
    def median_top1(self) -> float:
        """Of the members."""
        return statistics.median(member.top1 for member in self.of_members.values())

    @property
    def gain(self) -> float:
        """What the ensemble's top-1 error is below the median member's."""
        return self.median_top1 - self.evaluation.top1_error

    @property
    def mean_agreement(self) -> float:
        """Of two different members."""
        count = len(self.runs)
        return float((self.agreement.sum() - np.trace(self.agreement)) / (count * (count - 1)))

    def metrics(self) -> dict[str, float]:
        """By the names that the ensemble's run has them under."""
        figures = {f"eval_{name}": value for name, value in self.evaluation.metrics().items()}
        figures |= {
            "median_member_top1_error": self.median_top1,
            "gain_over_median_member": self.gain,
            "mean_pairwise_agreement": self.mean_agreement,
        }
        if self.greedy:
            figures["greedy_top1_error"] = float(self.greedy.errors[-1, 0])
            figures["greedy_members"] = len(self.greedy.members)
        return figures


def study(settings: EnsembleSettings, members: DataFrame, runs: Sequence[str], together: Together) -> Study:
    """Every question, one pass over the predictions each. together: of the images that the ensemble is judged by."""
    of_logits = settings.combine == "logits"
    weights = np.full(len(runs), 1 / len(runs))
    if settings.combine == "weights":
        weights = _of_half(members, runs, "fitting", settings.seed).fitted_weights()
    return Study(
        runs=list(runs),
        of_members={member.run: member for member in errors(together.rows)},
        weights=weights,
        evaluation=together.evaluate(weights, of_logits),
        curve=together.curve(orders_of(len(runs), settings.orders, settings.seed), of_logits),
        agreement=together.agreement(),
        greedy=select_greedily(settings, members, runs, of_logits) if settings.greedy else None,
    )


def judged(settings: EnsembleSettings, members: DataFrame, runs: Sequence[str]) -> Together:
    """The images that the ensemble is judged by: all, or those on which no weight was fitted."""
    part = "reporting" if settings.combine == "weights" else "all"
    return _of_half(members, runs, part, settings.seed)


def select_greedily(settings: EnsembleSettings, members: DataFrame, runs: Sequence[str], of_logits: bool) -> Greedy:
    """The best member first, then each time the one with which the average errs least; the earlier one of equals.

    Caruana et al. 2004, but each member once. It ends when no other makes the average better, too.
    """
    fitting = _of_half(members, runs, "fitting", settings.seed)
    chosen: list[int] = []
    reached = np.inf
    while len(chosen) < min(settings.greedy, len(runs)):
        with_each = fitting.errors_with_each(chosen, of_logits)
        with_each[chosen] = np.inf
        if with_each.min() >= reached:
            break
        chosen.append(int(with_each.argmin()))
        reached = float(with_each.min())
    fitting.close()
    reporting = _of_half(members, runs, "reporting", settings.seed)
    (along,) = reporting.curve(np.array([chosen]), of_logits)
    reporting.close()
    return Greedy([runs[place] for place in chosen], along)


def _of_half(members: DataFrame, runs: Sequence[str], part: str, seed: int) -> Together:
    return Together(of_part(members, part, seed), runs)
