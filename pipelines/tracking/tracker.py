"""One MLflow run: parameters, metrics, pictures, files, dataset, model. Rank 0 alone has one."""

import fcntl
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import torch
from mlflow import MlflowClient
from mlflow.data.meta_dataset import MetaDataset
from mlflow.data.sources import LocalArtifactDatasetSource  # type: ignore[attr-defined]  # made at run time
from mlflow.entities import DatasetInput, InputTag, Metric, Param, Run
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.types import Schema, TensorSpec
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT
from mlflow.utils.time import get_current_time_millis
from mlflow.utils.validation import MAX_PARAM_VAL_LENGTH
from sqlalchemy.exc import SQLAlchemyError
from torch import Tensor, nn

from pipelines.config import InputError, TrackingSettings
from pipelines.dataset.manifest import Manifest
from pipelines.dataset.storage import Address, Location
from pipelines.tracking.figures import learning_curves

PARENT_TAG = "mlflow.parentRunId"


def connect(settings: TrackingSettings, create: bool = False) -> MlflowClient:
    """A client of the store; an InputError if it cannot be reached.

    create: make the store if it is an SQLite file that does not exist yet.
    """
    try:
        if settings.uri.startswith("sqlite:///"):
            _make_sqlite(Path(settings.uri.removeprefix("sqlite:///")), settings.uri, create)
        mlflow.set_tracking_uri(settings.uri)
        client = MlflowClient(settings.uri)
        client.search_experiments(max_results=1)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        first_line = str(error).strip().split("\n")[0]
        raise InputError(f"tracking.uri = {without_password(settings.uri)}: not reachable: {first_line}") from None
    return client


def _make_sqlite(path: Path, uri: str, create: bool) -> None:
    """MLflow fills a new file with tables one by one, for seconds; stopped half-way it could never be opened again."""
    if path.exists():
        return
    if not create:
        raise InputError(f"tracking.uri = {uri}: no such store yet; jobs/train.py makes it")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two trainings may start at once
        if path.exists():
            return
        unfinished = path.with_name(f"{path.name}.unfinished")
        unfinished.unlink(missing_ok=True)
        store = SqlAlchemyStore(f"sqlite:///{unfinished}", str(path.parent / "artifacts"))
        store.engine.dispose()
        unfinished.replace(path)


def without_password(uri: str) -> str:
    """`scheme://user:***@host/…`, fit to be shown."""
    return re.sub(r"(://[^:/@]*:)[^@/]*@", r"\1***@", uri)


def experiment_id(client: MlflowClient, settings: TrackingSettings) -> str:
    """Of the settings' experiment, made if it is new."""
    if (experiment := client.get_experiment_by_name(settings.experiment)) is not None:
        return str(experiment.experiment_id)
    local = settings.artifacts.absolute() / settings.experiment
    place = local.as_uri() if settings.uri.startswith("sqlite:") else None
    return str(client.create_experiment(settings.experiment, artifact_location=place))


class MlflowTracker:
    """One MLflow run."""

    def __init__(self, client: MlflowClient, run: Run) -> None:
        self._client = client
        self.run_id: str = run.info.run_id
        self.was_finished: bool = run.info.status == "FINISHED"
        self._has_parameters = bool(run.data.params)

    @classmethod
    def begin(
        cls, settings: TrackingSettings, name: str, folder: Path | None = None, fresh: bool = False
    ) -> "MlflowTracker":
        """A new run, or unless `fresh` the one that `folder` remembers: a training that goes on stays one run."""
        client = connect(settings, create=True)
        memory = folder / "mlflow_run_id" if folder else None
        experiment = experiment_id(client, settings)
        run = (not fresh and _remembered(client, memory, experiment)) or client.create_run(experiment, run_name=name)
        if memory:
            memory.parent.mkdir(parents=True, exist_ok=True)
            memory.write_text(run.info.run_id)
        return cls(client, run)

    @classmethod
    def reopen(cls, settings: TrackingSettings, run_id: str) -> "MlflowTracker":
        """A run that exists, to add to it; its status stays as it is."""
        client = connect(settings)
        return cls(client, client.get_run(run_id))

    def log_parameters(self, parameters: dict[str, Any]) -> None:
        """Settings by dotted key; MLflow keeps a parameter for good, so a resumed run logs none."""
        if not self._has_parameters:
            values = [Param(key, str(value)[:MAX_PARAM_VAL_LENGTH]) for key, value in parameters.items()]
            self._client.log_batch(self.run_id, params=values)

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Figures at one step (or epoch) of their curves."""
        now = get_current_time_millis()
        self._client.log_batch(self.run_id, [Metric(key, value, now, step) for key, value in metrics.items()])

    def log_tags(self, tags: dict[str, str]) -> None:
        """What a person looks for a run by."""
        for key, value in tags.items():
            self._client.set_tag(self.run_id, key, value)

    def log_text(self, text: str, name: str) -> None:
        """A small file among the run's artifacts."""
        self._client.log_text(self.run_id, text, name)

    def log_file(self, path: Path, folder: str) -> None:
        """A local file, into a folder of the run's artifacts."""
        self._client.log_artifact(self.run_id, str(path), folder)

    def log_dataset(self, root: Address, manifest: Manifest, context: str) -> None:
        """The dataset the run used, by its digest."""
        location = Location.at(root)
        source = LocalArtifactDatasetSource(str(location))
        dataset = MetaDataset(source, name=location.name, digest=manifest.digest[:36])  # type: ignore[abstract]
        used = DatasetInput(dataset._to_mlflow_entity(), [InputTag(MLFLOW_DATASET_CONTEXT, context)])
        self._client.log_inputs(self.run_id, datasets=[used])
        self.log_tags({"strata.dataset_digest": manifest.digest})

    def log_learning_curves(self) -> None:
        """Errors and loss over the epochs, as a picture."""
        keys = ("train_loss", "val_loss", "train_top1_error", "val_top1_error", "val_top5_error")
        curves = {key: self._history(key) for key in keys}
        self._client.log_figure(self.run_id, learning_curves(curves), "learning_curves.png")

    def _history(self, key: str) -> dict[int, float]:
        return {metric.step: metric.value for metric in self._client.get_metric_history(self.run_id, key)}

    def log_model(self, model: nn.Module, images: Tensor) -> None:
        """The trained model with its signature: uint8 (N, H, W, C) to logits (N, classes), any N.

        images: at least two examples; the exporter would freeze a batch of one into the graph.
        """
        assert len(images) > 1, "see above"
        model = model.cpu().eval()
        example = images.numpy()
        with torch.no_grad():
            logits = model(images)
        signature = ModelSignature(
            inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, *images.shape[1:]))]),
            outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, *logits.shape[1:]))]),
        )
        with mlflow.start_run(run_id=self.run_id):  # which it also ends, so this comes last
            mlflow.pytorch.log_model(
                model,
                name="model",
                signature=signature,
                input_example=example,
                serialization_format="pt2",
                pip_requirements=[f"{name}=={version(name).split('+')[0]}" for name in ("mlflow", "torch", "numpy")],
            )

    def adopt(self, member: str) -> None:
        """Make another run a child of this one."""
        self._client.set_tag(member, PARENT_TAG, self.run_id)

    def __enter__(self) -> "MlflowTracker":
        """The run is at work from here on."""
        if not self.was_finished:
            self._client.update_run(self.run_id, status="RUNNING")
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        """FINISHED, FAILED, or KILLED where a signal ended it; a run that was finished before stays as it is."""
        if self.was_finished:
            return
        if error_type is None:
            self.finish()
        else:
            self.finish("FAILED" if issubclass(error_type, Exception) else "KILLED")

    def finish(self, status: str = "FINISHED") -> None:
        """End the run with a status of MLflow's: FINISHED, FAILED or KILLED."""
        self._client.set_terminated(self.run_id, status)


def _remembered(client: MlflowClient, memory: Path | None, experiment: str) -> Run | None:
    """The run that `memory` names; None if there is none, it was deleted, or it is of another experiment or store."""
    if memory is None or not memory.exists():
        return None
    try:
        run = client.get_run(memory.read_text().strip())
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    same = run.info.lifecycle_stage == "active" and run.info.experiment_id == experiment
    return run if same else None
