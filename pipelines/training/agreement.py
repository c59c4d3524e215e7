"""What all workers must have in common, compared once before they train: two that differ would spoil each other."""

import json
import socket
from collections.abc import Mapping
from typing import Any

import torch

from pipelines.config import InputError, TrainSettings
from pipelines.dataset.manifest import Manifest, read_manifest
from pipelines.training.workers import Workers

NAMED = 4
"""Differences in the message."""


def check_agreement(settings: TrainSettings, manifest: Manifest, device: torch.device, workers: Workers) -> None:
    """Raise an InputError on all workers if one has other settings, data, kind of device or torch than rank 0.

    manifest: rank 0's. On every host one worker reads the dataset's own there, for it may be another copy.
    """
    first_of_host = workers.local_rank == 0 and workers.rank > 0
    there = read_manifest(settings.dataset) if first_of_host else manifest
    mine = settings.flat() | {
        "the dataset's digest": there.digest[:12],
        "the kind of device": device.type,
        "torch": torch.__version__,
    }
    content = json.dumps({"host": socket.gethostname(), "has": mine}, default=str).encode()
    compare([json.loads(part) for part in workers.gather_bytes(content)])


def compare(workers: list[dict[str, Any]]) -> None:
    """workers: by rank, the name of its host and what it has. Raises InputError that names the first that differs."""
    first = workers[0]
    for rank, other in enumerate(workers):
        if differences := _differences(first["has"], other["has"]):
            more = f" and {len(differences) - NAMED} more" if len(differences) > NAMED else ""
            raise InputError(
                f"worker {rank} on {other['host']} differs from worker 0 on {first['host']}: "
                f"{'; '.join(differences[:NAMED])}{more}. All workers need the same command, configuration file, "
                "dataset, packages and kind of device"
            )


def _differences(first: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    names = sorted(first.keys() | other.keys())
    return [
        f"{name} = {other.get(name)}, not {first.get(name)}" for name in names if first.get(name) != other.get(name)
    ]
