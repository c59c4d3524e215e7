"""MLflow's store: reaching it, and what an entry becomes there. Whatever is sent twice is there once."""

import fcntl
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.data.meta_dataset import MetaDataset
from mlflow.data.sources import LocalArtifactDatasetSource  # type: ignore[attr-defined]  # made at run time
from mlflow.entities import DatasetInput, InputTag, LoggedModel, LoggedModelOutput, Param, RunTag
from mlflow.entities import Metric as Point
from mlflow.exceptions import MlflowException
from mlflow.models import Model as SavedModel
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT
from sqlalchemy.exc import SQLAlchemyError

from pipelines.config import InputError, TrackingSettings
from pipelines.tracking.entries import Begin, Dataset, Entry, File, Metrics, Model, Parameters, Status, Tags
from pipelines.tracking.places import refuse_place, repository
from pipelines.tracking.tags import SPOOL_TAG
from pipelines.tracking.view import experiment_tags

SQLITE = "sqlite:///"
SLOWEST_UPLOAD_BYTES_PER_S = 1e6
"""A file may take as long as this needs: the server answers only when it has all of it."""


def connect(settings: TrackingSettings, create: bool = False) -> MlflowClient:
    """A client of the store; an InputError if it cannot be reached.

    create: make the store if it is an SQLite file that does not exist yet.
    """
    try:
        if settings.uri.startswith(SQLITE):
            _make_sqlite(Path(settings.uri.removeprefix(SQLITE)), settings.uri, create)
        mlflow.set_tracking_uri(settings.uri)
        client = MlflowClient(settings.uri)
        client.search_experiments(max_results=1)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        first_line = str(error).strip().split("\n")[0]
        raise InputError(f"tracking.uri = {settings.uri}: not reachable: {first_line}") from None
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
        store = SqlAlchemyStore(f"{SQLITE}{unfinished}", str(path.parent / "artifacts"))
        store.engine.dispose()
        unfinished.replace(path)


def experiment_id(client: MlflowClient, settings: TrackingSettings) -> str:
    """Of the settings' experiment, made if it is new, with the view of ours on the dashboard unless it has one."""
    if (found := client.get_experiment_by_name(settings.experiment)) is not None:
        for key, value in experiment_tags(found.experiment_id).items():
            if key not in found.tags:
                client.set_experiment_tag(found.experiment_id, key, value)
        return str(found.experiment_id)
    local = settings.artifacts.absolute() / settings.experiment
    place = local.as_uri() if settings.uri.startswith("sqlite:") else None
    try:
        client.create_experiment(settings.experiment, artifact_location=place)
    except MlflowException as error:  # or another training has made it meanwhile
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    return experiment_id(client, settings)


def run_of(client: MlflowClient, experiment: str, spool: str, known: str = "") -> str:
    """The id of the run that carries a spool's tag, `known` if that is it; empty if there is none.

    A server that hung may do late what it was asked to do twice: of several runs one stays, the others are deleted.
    """
    found = client.search_runs([experiment], f"tags.`{SPOOL_TAG}` = '{spool}'")
    ids = sorted((str(run.info.run_id) for run in found), key=lambda run_id: (run_id != known, run_id))
    for surplus in ids[1:]:
        client.delete_run(surplus)
    return ids[0] if ids else ""


class StoreRun:
    """One run of the store, and what it takes to add an entry to it."""

    def __init__(self, client: MlflowClient, run_id: str, folder: Path, within: Path | None = None) -> None:
        """folder: that paths of entries are below. within: the only folder of this machine that files may go to."""
        self._client, self.run_id, self._folder, self._within = client, run_id, folder, within

    @classmethod
    def begin(
        cls, client: MlflowClient, experiment: str, begin: Begin, folder: Path, known: str, within: Path | None
    ) -> "StoreRun":
        """The run of a spool, made unless it is there. known: its id, if it had one before.

        Raises InputError if the store would have its files elsewhere than they may go.
        """
        refuse_place(client, client.get_experiment(experiment).artifact_location, within)
        run_id = run_of(client, experiment, begin.spool, known)
        if not run_id:
            client.create_run(experiment, begin.at_ms, {SPOOL_TAG: begin.spool}, begin.name)
            run_id = run_of(client, experiment, begin.spool)
        refuse_place(client, client.get_run(run_id).info.artifact_uri, within)
        return cls(client, run_id, folder, within)

    def send(self, entry: Entry) -> None:
        """Raises what MLflow raises."""
        if isinstance(entry, Metrics):
            self.send_metrics([entry])
        elif isinstance(entry, Parameters):
            self._client.log_batch(self.run_id, params=[Param(*item) for item in entry.values.items()])
        elif isinstance(entry, Tags):
            self._client.log_batch(self.run_id, tags=[RunTag(*item) for item in entry.values.items()])
        elif isinstance(entry, Dataset):
            self._send_dataset(entry)
        elif isinstance(entry, File):
            self._send_file(self._folder / entry.path, entry.folder)
        elif isinstance(entry, Model):
            self._send_model(self._folder / entry.path)
        elif isinstance(entry, Status):
            if entry.status == "RUNNING":
                self._client.update_run(self.run_id, status="RUNNING")
            else:
                self._client.set_terminated(self.run_id, entry.status, entry.at_ms)

    def send_metrics(self, entries: Sequence[Metrics]) -> None:
        """MLflow's key of a point is all that it consists of, so points that are there already stay as they are."""
        points = [Point(key, value, one.at_ms, one.step) for one in entries for key, value in one.values.items()]
        self._client.log_batch(self.run_id, points)

    def _send_file(self, path: Path, folder: str) -> None:
        place = repository(self._client, self._client.get_run(self.run_id).info.artifact_uri, self._within)
        with _patient(path):
            place.log_artifact(str(path), folder or None)

    def _send_dataset(self, entry: Dataset) -> None:
        source = LocalArtifactDatasetSource(entry.source)
        dataset = MetaDataset(source, name=entry.name, digest=entry.digest)  # type: ignore[abstract]
        used = DatasetInput(dataset._to_mlflow_entity(), [InputTag(MLFLOW_DATASET_CONTEXT, entry.context)])
        self._client.log_inputs(self.run_id, datasets=[used])

    def _send_model(self, folder: Path) -> None:
        """As mlflow.pytorch.log_model does, from a folder and as often as needed."""
        run = self._client.get_run(self.run_id)
        model = self._logged_model(run.info.experiment_id, folder.parent.name, run.data.params)
        place = repository(self._client, model.artifact_location, self._within)
        saved = SavedModel.load(str(folder))
        saved.run_id, saved.model_id, saved.model_uuid = self.run_id, model.model_id, model.model_id
        saved.artifact_path = model.artifact_location
        saved.save(str(folder / "MLmodel"))
        with _patient(folder):
            place.log_artifacts(str(folder))
        self._client.finalize_logged_model(model.model_id, "READY")
        outputs = run.outputs.model_outputs if run.outputs else []
        if model.model_id not in {output.model_id for output in outputs}:
            self._client.log_outputs(self.run_id, [LoggedModelOutput(model.model_id, step=0)])

    def _logged_model(self, experiment: str, name_here: str, parameters: dict[str, str]) -> LoggedModel:
        """The store's record of the model, made unless it is there. name_here: what this spool knows it by."""
        wanted = f"source_run_id = '{self.run_id}' AND tags.`{SPOOL_TAG}` = '{name_here}'"
        if not self._client.search_logged_models([experiment], wanted):
            self._client.create_logged_model(
                experiment, "model", self.run_id, {SPOOL_TAG: name_here}, parameters, model_type="pytorch"
            )
        found = sorted(self._client.search_logged_models([experiment], wanted), key=lambda model: str(model.model_id))
        for surplus in found[1:]:
            self._client.delete_logged_model(surplus.model_id)
        return found[0]


@contextmanager
def _patient(path: Path) -> Iterator[None]:
    """In this context MLflow waits long enough for an answer about so large a file, or folder of files."""
    usual = os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"]
    largest = max(file.stat().st_size for file in [path, *path.rglob("*")])
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(int(usual) + math.ceil(largest / SLOWEST_UPLOAD_BYTES_PER_S))
    try:
        yield
    finally:
        os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = usual
