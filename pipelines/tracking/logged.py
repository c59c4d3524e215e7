"""A run as the store has it, in plain values: for whoever shows runs, and needs no MLflow to do so."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Curve = Mapping[int, float]
"""Step, or epoch, to value."""


def _nothing(path: str) -> bytes | None:
    return None


@dataclass(frozen=True)
class LoggedRun:
    """One run of any status, from a training that goes on to one that failed."""

    run_id: str
    name: str
    kind: str
    """`training` or `ensemble`."""
    status: str
    """RUNNING, FINISHED, FAILED or KILLED."""
    started_ms: int
    ended_ms: int | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The newest value of each."""
    curves: Mapping[str, Curve] = field(default_factory=dict)
    """Of trainings over epochs, of ensembles over the number of members."""
    load: Mapping[str, float] = field(default_factory=dict)
    """What the hosts were busy with, by the names that they log it under, averaged over samples, hosts and GPUs."""
    artifact: Callable[[str], bytes | None] = _nothing
    """The content of one, by its path; None: the run has none of this name."""

    @property
    def is_finished(self) -> bool:
        return self.status == "FINISHED"

    @property
    def network(self) -> str:
        """Of a training, by its name in models."""
        return self.parameters.get("model.name", "")

    @property
    def dataset_digest(self) -> str:
        return self.tags.get("strata.dataset_digest", "")

    @property
    def epochs(self) -> int:
        """Those done."""
        return max(self.curves.get("val_loss", {}), default=0)

    def metric(self, name: str) -> float | None:
        """None also where it is no number."""
        value = self.metrics.get(name, math.nan)
        return value if math.isfinite(value) else None


@dataclass(frozen=True)
class LoggedStudy:
    """All trainings and ensembles of an experiment, by name, seed10 after seed9, those of one name oldest first."""

    name: str
    runs: tuple[LoggedRun, ...]

    @property
    def trainings(self) -> list[LoggedRun]:
        return [run for run in self.runs if run.kind == "training"]

    @property
    def ensembles(self) -> list[LoggedRun]:
        return [run for run in self.runs if run.kind == "ensemble"]
