"""Finding runs in the store."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mlflow.entities import Run

from pipelines.config import InputError, TrackingSettings
from pipelines.tracking.store import connect
from pipelines.tracking.tags import CHECKPOINT_TAG, KIND_TAG, PARENT_TAG

__all__ = ["CHECKPOINT_TAG", "KIND_TAG", "TrainedRun", "group_of", "trained_runs"]


@dataclass(frozen=True)
class TrainedRun:
    """A finished training, as the store knows it."""

    run_id: str
    name: str
    checkpoint: str
    dataset: str
    """Its folder, as the training was told."""
    dataset_digest: str
    images_per_s: float
    parent: str = ""
    """The run that it is a child of; empty: it is none's."""

    def to_dict(self) -> dict[str, str | float]:
        return asdict(self)


def checkpoint_of(settings: TrackingSettings, wanted: str) -> Path:
    """Of the experiment's finished training of that id or name; a checkpoint's file stands for itself.

    Raises InputError that lists the trainings there are if it is neither.
    """
    path = Path(wanted)
    if path.suffix == ".pt" or path.is_file():
        return path
    (trained,) = trained_runs(settings, [wanted])
    return Path(trained.checkpoint)


def trained_runs(settings: TrackingSettings, wanted: Sequence[str] = ()) -> list[TrainedRun]:
    """The experiment's finished trainings of these ids or names, the newest of each name; all names if none is given.

    Sorted by name. Raises InputError that lists what there is if one is not found.
    """
    client = connect(settings)
    experiment = client.get_experiment_by_name(settings.experiment)
    if experiment is None:
        raise InputError(f"tracking.experiment = {settings.experiment}: there is none of this name in {settings.uri}")
    found = client.search_runs(
        [experiment.experiment_id],
        f"tags.`{KIND_TAG}` = 'training' and attributes.status = 'FINISHED'",
        order_by=["attributes.end_time DESC"],
    )
    by_id = {run.info.run_id: run for run in found}
    newest: dict[str, Run] = {}
    for run in found:
        newest.setdefault(run.info.run_name, run)
    missing = [name for name in wanted if name not in by_id and name not in newest]
    if not found:
        raise InputError(f"experiment {settings.experiment}: no training is finished yet; run jobs/train.py first")
    if missing:
        raise InputError(
            f"experiment {settings.experiment}: no finished training {', '.join(missing)}; "
            f"there are {', '.join(sorted(newest))}"
        )
    chosen = [by_id.get(name) or newest[name] for name in wanted] or list(newest.values())
    return sorted((_trained(run) for run in chosen), key=lambda run: run.name)


def refuse_outside(name: str) -> None:
    """Raises InputError if a run's name, which anybody who reaches the store can give, would lead out of a folder."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise InputError(f"the run {name!r} is called as no folder may be: name other runs=[…], or rename it in MLflow")


def _trained(run: Run) -> TrainedRun:
    refuse_outside(run.info.run_name)
    return TrainedRun(
        run.info.run_id,
        run.info.run_name,
        run.data.tags[CHECKPOINT_TAG],
        run.data.params["dataset"],
        run.data.tags["strata.dataset_digest"],
        run.data.metrics.get("images_per_s", math.nan),
        run.data.tags.get(PARENT_TAG, ""),
    )


def group_of(settings: TrackingSettings, members: Sequence[TrainedRun]) -> str:
    """The id of the finished group that has exactly these children; empty if there is none."""
    (parent, *others) = {member.parent for member in members}
    client = connect(settings)
    experiment = client.get_experiment_by_name(settings.experiment)
    if others or not parent or experiment is None:
        return ""
    groups = client.search_runs(
        [experiment.experiment_id], f"tags.`{KIND_TAG}` = 'group' and attributes.status = 'FINISHED'"
    )
    children = client.search_runs([experiment.experiment_id], f"tags.`{PARENT_TAG}` = '{parent}'")
    is_group = parent in {group.info.run_id for group in groups}
    has_others = {child.info.run_id for child in children} != {member.run_id for member in members}
    return parent if is_group and not has_others else ""
