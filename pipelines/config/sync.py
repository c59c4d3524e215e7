"""Settings of jobs/sync.py."""

from pathlib import Path

from pipelines.config.base import Settings


class SyncSettings(Settings):
    """Settings of jobs/sync.py: send to MLflow what trainings could not send."""

    folder: Path = Path("work/runs")
    """A run's folder, or one that has runs below it."""
    uri: str = ""
    """MLflow's tracking store, for all of these runs; empty: work/mlflow.db, if that is where their trainings logged.
    Another must be said, with its password: what a run's folder says is not trusted with yours."""
    artifacts: Path = Path("work/artifacts")
    """Where on this machine runs may keep files, if their store is one that has them here."""
