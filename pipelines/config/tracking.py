"""Where runs are recorded."""

from pathlib import Path

from pydantic import Field

from pipelines.config.base import Settings


class TrackingSettings(Settings):
    uri: str = "sqlite:///work/mlflow.db"
    """MLflow's tracking store: an SQLite file or a server's address."""
    artifacts: Path = Path("work/artifacts")
    """Where a local store keeps pictures, models and files; a server has its own place."""
    experiment: str = "default"
    """Runs that are compared with each other share an experiment."""
    log_every_steps: int = Field(10, ge=1)
    """Steps between two points of the per-step curves."""
