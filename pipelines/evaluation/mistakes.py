"""The worst mistakes: wrong images whose own class had the least probability."""

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from pipelines.evaluation.outcomes import Outcomes


class Mistake(NamedTuple):
    loss: float
    """Minus the logarithm of the label's probability."""
    key: str
    label: int
    predicted: int
    confidence: float
    """The predicted class's probability."""


class Worst:
    """Keeps the `count` worst of all mistakes that it is shown."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.mistakes: list[Mistake] = []
        """Worst first."""

    def add(self, keys: Sequence[str], seen: Outcomes) -> None:
        """N images."""
        wrong = np.flatnonzero(seen.ranks > 0)
        losses = np.nan_to_num(seen.losses[wrong].astype(np.float64), nan=np.inf)
        worst = wrong[np.argsort(-losses, kind="stable")[: self._count]]
        self._merge(
            Mistake(
                float(np.nan_to_num(seen.losses[place], nan=np.inf)),
                keys[place],
                int(seen.labels[place]),
                int(seen.predicted[place]),
                float(seen.confidences[place]),
            )
            for place in worst
        )

    def _merge(self, others: Iterable[Mistake]) -> None:
        self.mistakes = sorted([*self.mistakes, *others], key=lambda one: (-one.loss, one.key))[: self._count]

    def to_bytes(self) -> bytes:
        """Never empty."""
        return json.dumps(self.mistakes).encode()

    @classmethod
    def of_all(cls, count: int, parts: Iterable[bytes]) -> "Worst":
        """The worst of what several workers kept."""
        worst = cls(count)
        for part in parts:
            worst._merge(Mistake(*fields) for fields in json.loads(part))
        return worst
