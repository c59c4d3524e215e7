"""A whole study read from the store: the runs of an experiment with their curves, loads and artifacts."""

import math
import re
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

from mlflow import MlflowClient
from mlflow.entities import Metric, Run

from pipelines.config import InputError, TrackingSettings, without_secrets
from pipelines.tracking.logged import Curve, LoggedRun, LoggedStudy
from pipelines.tracking.store import connect
from pipelines.tracking.tags import KIND_TAG

KINDS = ("training", "ensemble")
EPOCH_CURVES = (
    "train_loss", "val_loss", "train_top1_error", "val_top1_error", "val_top5_error", "images_per_s",
    "input_wait_fraction",
)  # fmt: skip
MEMBER_CURVES = ("curve_top1_error", "curve_top5_error")
_LOAD = re.compile(
    r"system/.*/(?:gpu_\d+_)?(cpu_utilization_percentage|utilization_percentage|system_memory_usage_megabytes)"
)
_PAGE = 1000


def read_study(settings: TrackingSettings, say: Callable[[str], None]) -> LoggedStudy:
    """The experiment of the settings. say: is told how far it is, as a line now and then.

    Raises InputError that lists the experiments there are if it is not one of them, or has no training.
    """
    client, name = connect(settings), settings.experiment
    experiment = client.get_experiment_by_name(name)
    if experiment is None or experiment.lifecycle_stage != "active":
        there_are = ", ".join(sorted(one.name for one in client.search_experiments()))
        raise InputError(
            f"study = {name}: no experiment of this name in {without_secrets(settings.uri)}; there are {there_are}"
        )
    found = [run for run in _runs(client, str(experiment.experiment_id)) if run.data.tags.get(KIND_TAG) in KINDS]
    if not any(run.data.tags[KIND_TAG] == "training" for run in found):
        raise InputError(f"study = {name}: no training has begun yet; run jobs/train.py tracking.experiment={name}")
    found.sort(key=lambda run: (_in_parts(run.info.run_name), run.info.start_time, run.info.run_id))
    runs = []
    for number, run in enumerate(found, start=1):
        say(f"reading run {number} of {len(found)}: {run.info.run_name}")
        runs.append(_logged(client, run))
    return LoggedStudy(name, tuple(runs))


def _in_parts(name: str) -> list[tuple[int, str]]:
    """So that seed10 comes after seed9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _runs(client: MlflowClient, experiment: str) -> list[Run]:
    runs: list[Run] = []
    token = None
    while True:
        page = client.search_runs([experiment], max_results=_PAGE, page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs


def _logged(client: MlflowClient, run: Run) -> LoggedRun:
    kind = run.data.tags[KIND_TAG]
    wanted = EPOCH_CURVES if kind == "training" else MEMBER_CURVES
    histories = {name: _history(client, run, name) for name in wanted if name in run.data.metrics}
    curves: dict[str, Curve] = {
        name: {point.step: point.value for point in points} for name, points in histories.items()
    }
    if "val_loss" in histories and "learning_rate" in run.data.metrics:
        curves["learning_rate"] = _at_ends(_history(client, run, "learning_rate"), histories["val_loss"])
    return LoggedRun(
        run_id=run.info.run_id,
        name=run.info.run_name,
        kind=kind,
        status=run.info.status,
        started_ms=run.info.start_time,
        ended_ms=run.info.end_time,
        parameters=run.data.params,
        tags=run.data.tags,
        metrics=run.data.metrics,
        curves=curves,
        load=_load(client, run),
        artifact=_artifacts(client, run.info.run_id),
    )


def _history(client: MlflowClient, run: Run, name: str) -> list[Metric]:
    """Its numbers, in the order of their steps."""
    points = client.get_metric_history(run.info.run_id, name)
    numbers = [point for point in points if math.isfinite(point.value)]
    return sorted(numbers, key=lambda point: (point.step, point.timestamp))


def _at_ends(of_steps: Sequence[Metric], of_epochs: Sequence[Metric]) -> Curve:
    """The figure of each epoch's last step: the newest one when the epoch was logged."""
    times = [point.timestamp for point in of_steps]
    last = {epoch.step: bisect_right(times, epoch.timestamp) for epoch in of_epochs}
    return {epoch: of_steps[count - 1].value for epoch, count in last.items() if count}


def _load(client: MlflowClient, run: Run) -> Mapping[str, float]:
    samples: dict[str, list[float]] = {}
    for name in sorted(run.data.metrics):
        if match := _LOAD.fullmatch(name):
            samples.setdefault(match[1], []).extend(point.value for point in _history(client, run, name))
    return {name: fmean(values) for name, values in samples.items() if values}


def _artifacts(client: MlflowClient, run_id: str) -> Callable[[str], bytes | None]:
    @cache
    def paths(folder: str) -> set[str]:
        return {file.path for file in client.list_artifacts(run_id, folder or None)}

    def content(path: str) -> bytes | None:
        if path not in paths(path.rpartition("/")[0]):
            return None
        with TemporaryDirectory() as folder:
            return Path(client.download_artifacts(run_id, path, folder)).read_bytes()

    return content
