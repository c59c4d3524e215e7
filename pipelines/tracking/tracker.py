"""A run that is told of at once: for jobs that need MLflow's store to do their work."""

from pathlib import Path

from mlflow import MlflowClient

from pipelines.config import TrackingSettings
from pipelines.tracking.base import Tracker
from pipelines.tracking.entries import Entry
from pipelines.tracking.store import StoreRun, connect, experiment_id
from pipelines.tracking.tags import child_tags


class MlflowTracker(Tracker):
    """One MLflow run."""

    def __init__(self, client: MlflowClient, run_id: str, was_finished: bool) -> None:
        self._client = client
        self._run = StoreRun(client, run_id, Path("/"))
        self.was_finished = was_finished

    @property
    def run_id(self) -> str:
        return self._run.run_id

    @classmethod
    def begin(cls, settings: TrackingSettings, name: str) -> "MlflowTracker":
        """A new run."""
        client = connect(settings, create=True)
        run = client.create_run(experiment_id(client, settings), run_name=name)
        return cls(client, run.info.run_id, was_finished=False)

    @classmethod
    def reopen(cls, settings: TrackingSettings, run_id: str) -> "MlflowTracker":
        """A run that exists, to add to it; its status stays as it is."""
        client = connect(settings)
        return cls(client, run_id, client.get_run(run_id).info.status == "FINISHED")

    @classmethod
    def take_up(cls, settings: TrackingSettings, run_id: str, name: str) -> "MlflowTracker":
        """A run that exists, to make something else of it, under another name; its status starts anew."""
        client = connect(settings)
        client.update_run(run_id, name=name)
        return cls(client, run_id, was_finished=False)

    def adopt(self, member: str) -> None:
        """Make another run a child of this one."""
        for key, value in child_tags(self.run_id).items():
            self._client.set_tag(member, key, value)

    def _record(self, entry: Entry) -> None:
        self._run.send(entry)

    def _keep(self, source: Path) -> str:
        return str(source.absolute())
