"""What the runs of a study come to: errors with their intervals, the best network, the ensemble, the dataset."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from pipelines.dataset.manifest import Manifest
from pipelines.tracking.logged import LoggedRun, LoggedStudy

AS_TRAINED = "as_trained"
"""The protocol that the training validated with."""
IMAGENET_CLASSES, IMAGENET_VAL_IMAGES = 1000, 50_000


@dataclass(frozen=True)
class Errors:
    """As jobs/evaluate.py or jobs/ensemble.py has them; fractions, each with the ends of its 95% interval."""

    protocol: str
    top1: float
    top1_between: tuple[float, float]
    top5: float
    top5_between: tuple[float, float]
    images: int


def errors_by_protocol(run: LoggedRun) -> dict[str, Errors]:
    """Of a training one for each way in which it was shown images, of an ensemble one; none if it is not evaluated."""
    ending = "_top1_error_low"
    prefixes = sorted(name.removesuffix(ending) for name in run.metrics if name.endswith(ending))
    own = run.parameters.get("protocol", AS_TRAINED)
    named = {own if prefix == "eval" else prefix.removeprefix("eval_"): prefix for prefix in prefixes}
    found = {protocol: _errors(run.metrics, prefix, protocol) for protocol, prefix in named.items()}
    return {protocol: errors for protocol, errors in found.items() if errors}


def _errors(metrics: Mapping[str, float], prefix: str, protocol: str) -> Errors | None:
    names = ("top1_error", "top1_error_low", "top1_error_high", "top5_error", "top5_error_low", "top5_error_high")
    values = [metrics.get(f"{prefix}_{name}", math.nan) for name in (*names, "images")]
    if not all(map(math.isfinite, values)):
        return None
    top1, low1, high1, top5, low5, high5, images = values
    return Errors(protocol, top1, (low1, high1), top5, (low5, high5), int(images))


@dataclass(frozen=True)
class Facts:
    """A study, and its dataset's manifest if that dataset is still where it was."""

    study: LoggedStudy
    manifest: Manifest | None

    @cached_property
    def finished(self) -> list[LoggedRun]:
        """The newest finished training of each name."""
        return list({run.name: run for run in self.study.trainings if run.is_finished}.values())

    @cached_property
    def ensemble(self) -> tuple[LoggedRun, Errors] | None:
        """The newest that is finished."""
        found = [(run, errors) for run in self.study.ensembles for errors in errors_by_protocol(run).values()]
        return max((one for one in found if one[0].is_finished), key=lambda one: one[0].started_ms, default=None)

    @cached_property
    def protocol(self) -> str:
        """By which networks are compared: the ensemble's; without one as trained, if any was shown images so."""
        if self.ensemble:
            return self.ensemble[1].protocol
        there_are = sorted({protocol for run in self.finished for protocol in errors_by_protocol(run)})
        return AS_TRAINED if AS_TRAINED in there_are or not there_are else there_are[0]

    @cached_property
    def judged(self) -> list[tuple[LoggedRun, Errors]]:
        """The finished networks that are evaluated by that protocol, the best first."""
        found = [(run, errors_by_protocol(run).get(self.protocol)) for run in self.finished]
        judged = [(run, errors) for run, errors in found if errors]
        return sorted(judged, key=lambda one: (one[1].top1, one[1].top5, one[0].name))

    @cached_property
    def best(self) -> tuple[LoggedRun, Errors] | None:
        """The ensemble, or where there is none the best network."""
        return self.ensemble or next(iter(self.judged), None)

    def members(self, ensemble: LoggedRun) -> list[str]:
        """Their names, in the ensemble's order; the id of one that is in another experiment."""
        names = {run.run_id: run.name for run in self.study.trainings}
        return [names.get(run_id, run_id) for run_id in ensemble.parameters.get("members", "").split()]

    @cached_property
    def networks(self) -> list[str]:
        return sorted({run.network for run in self.study.trainings})

    @cached_property
    def digests(self) -> list[str]:
        """Of the datasets that were trained on."""
        return sorted({run.dataset_digest for run in self.study.trainings if run.dataset_digest})

    @cached_property
    def is_of_imagenet(self) -> bool:
        """Whether the errors are of what the papers' are of: all of ImageNet's own validation images."""
        if self.manifest is None or len(self.digests) > 1:
            return False
        has_wnids = all(entry.wnid for entry in self.manifest.classes)
        counts = (len(self.manifest.classes), self.manifest.splits["val"].rows)
        return has_wnids and counts == (IMAGENET_CLASSES, IMAGENET_VAL_IMAGES)


def dataset_of(study: LoggedStudy) -> tuple[str, str]:
    """Address and digest of what the newest training was trained on."""
    newest = max(study.trainings, key=lambda run: run.started_ms)
    return newest.parameters.get("dataset", ""), newest.dataset_digest


def percent(share: float) -> str:
    return f"{share:.2%}"


def between(interval: tuple[float, float]) -> str:
    return f"{interval[0]:.2%} to {interval[1]:.2%}"
