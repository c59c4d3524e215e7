"""Settings of jobs/sync.py."""

from pathlib import Path

from pipelines.config.base import Settings


class SyncSettings(Settings):
    """Settings of jobs/sync.py: send to MLflow what trainings could not send."""

    folder: Path = Path("work/runs")
    """A run's folder, or one that has runs below it."""
    uri: str = ""
    """MLflow's tracking store, for all of these runs; empty: the one that each training was told. Needed where that
    one's address held a password, which is not kept."""
