"""Where runs are recorded."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from pipelines.config.base import Settings


class TrackingSettings(Settings):
    uri: str = "sqlite:///work/mlflow.db"
    """MLflow's tracking store: an SQLite file or a server's address. What a training logs is kept in its folder first,
    so a server may be down: jobs/sync.py sends later what could not be sent."""
    artifacts: Path = Path("work/artifacts")
    """Where a local store keeps pictures, models and files; a server has its own place, and may have no other on this
    machine."""
    experiment: str = "default"
    """Runs that are compared with each other share an experiment."""
    log_every_steps: int = Field(10, ge=1)
    """Steps between two points of the per-step curves, and between two looks at whether the loss is finite."""
    system_every_s: float | None = Field(10, gt=0)
    """Seconds between two points of each host's curves: processor, memory, disk, network, GPUs. null: none."""
    checkpoints: Literal["reference", "upload"] = "reference"
    """Of a training's last and best checkpoints the run knows the path (reference), or has the files (upload)."""
    wait_at_end_s: float = Field(60, ge=0)
    """How long a training that is done waits, at most, for a server to take what has not been sent yet."""
