"""One MLflow run: parameters, metrics, pictures, files, dataset, model. Rank 0 alone has one."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import torch
from mlflow import MlflowClient
from mlflow.data.meta_dataset import MetaDataset
from mlflow.data.sources import LocalArtifactDatasetSource  # type: ignore[attr-defined]  # made at run time
from mlflow.entities import Metric, Param, Run
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from mlflow.utils.time import get_current_time_millis
from sqlalchemy.exc import SQLAlchemyError
from torch import Tensor, nn

from pipelines.config import InputError, TrackingSettings
from pipelines.dataset.manifest import Manifest
from pipelines.tracking.figures import learning_curves

PARENT_TAG = "mlflow.parentRunId"
LONGEST_PARAMETER = 500


def connect(settings: TrackingSettings) -> MlflowClient:
    """A client of the store, which is made if it is a new SQLite file; an InputError if it cannot be reached."""
    if settings.uri.startswith("sqlite:///"):
        Path(settings.uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    try:
        mlflow.set_tracking_uri(settings.uri)
        client = MlflowClient(settings.uri)
        client.search_experiments(max_results=1)
    except (MlflowException, SQLAlchemyError) as error:
        raise InputError(f"tracking.uri = {settings.uri}: not reachable: {error}") from None
    return client


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
    def begin(cls, settings: TrackingSettings, name: str, folder: Path | None = None) -> "MlflowTracker":
        """A new run, or the one that `folder` remembers, so that a training that goes on stays one run."""
        client = connect(settings)
        memory = folder / "mlflow_run_id" if folder else None
        run = _remembered(client, memory) or client.create_run(experiment_id(client, settings), run_name=name)
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
            values = [Param(key, str(value)[:LONGEST_PARAMETER]) for key, value in parameters.items()]
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
        """A copy of a file, or of all files of a folder, among the run's artifacts."""
        (self._client.log_artifacts if path.is_dir() else self._client.log_artifact)(self.run_id, str(path), folder)

    def log_dataset(self, root: Path, manifest: Manifest, context: str) -> None:
        """The dataset the run used, by its digest."""
        source = LocalArtifactDatasetSource(str(root.absolute()))
        dataset = MetaDataset(source, name=root.name, digest=manifest.digest[:36])  # type: ignore[abstract]
        with self._active():
            mlflow.log_input(dataset, context)
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
        with self._active():
            mlflow.pytorch.log_model(
                model,
                name="model",
                signature=signature,
                input_example=example,
                serialization_format="pt2",
                pip_requirements=[f"{name}=={version(name)}" for name in ("mlflow", "torch", "numpy")],
            )

    @contextmanager
    def _active(self) -> Iterator[None]:
        """For the few calls of MLflow that know only an active run; leaving it would end the run, too."""
        status = self._client.get_run(self.run_id).info.status
        with mlflow.start_run(run_id=self.run_id):
            yield
        self._client.update_run(self.run_id, status=status)

    def adopt(self, member: str) -> None:
        """Make another run a child of this one."""
        self._client.set_tag(member, PARENT_TAG, self.run_id)

    def finish(self, status: str = "FINISHED") -> None:
        """FINISHED or FAILED."""
        self._client.set_terminated(self.run_id, status)


def _remembered(client: MlflowClient, memory: Path | None) -> Run | None:
    if memory is None or not memory.exists():
        return None
    try:
        run = client.get_run(memory.read_text().strip())
    except MlflowException:  # the store is another one, or the run was deleted: begin a new run
        return None
    return run if run.info.lifecycle_stage == "active" else None
