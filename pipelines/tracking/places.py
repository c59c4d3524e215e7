"""Where a store would have files put.

Whoever may write to the store says so, and MLflow's client would obey: it writes to any folder of this machine, and to
any server, with the name and the password that are for the store.
"""

from pathlib import Path
from urllib.parse import urlparse

from mlflow import MlflowClient
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.file_utils import local_file_uri_to_path

from pipelines.config import InputError, without_secrets

_OF_SERVERS = ("http", "https", "mlflow-artifacts")
_OF_OTHERS = ("runs", "models")
"""A place with one of these is that of another run or model, wherever that is."""


def repository(client: MlflowClient, place: str, within: Path | None) -> ArtifactRepository:
    """What takes files to the place; see refuse_place."""
    refuse_place(client, place, within)
    return get_artifact_repository(place, tracking_uri=client.tracking_uri)


def refuse_place(client: MlflowClient, place: str, within: Path | None) -> None:
    """Raise an InputError if files would go to a server that is not the client's store, or elsewhere on this machine.

    within: the only folder of this machine that they may go to; None: any.
    """
    scheme = urlparse(place).scheme
    if scheme in ("", "file"):
        _refuse_outside(Path(local_file_uri_to_path(place)).resolve(), within)
    elif scheme in _OF_OTHERS or (scheme in _OF_SERVERS and not _is_of(client.tracking_uri, place)):
        raise InputError(
            f"the store would have its files in {without_secrets(place)}, which would be told the password of "
            f"{without_secrets(client.tracking_uri)}: log to another experiment, and ask who made this one"
        )


def _refuse_outside(path: Path, within: Path | None) -> None:
    if within is not None and (home := within.resolve()) not in (path, *path.parents):
        raise InputError(
            f"the store would have its files in {path}, on this machine and outside of {home}: give artifacts=FOLDER "
            "(a training: tracking.artifacts=FOLDER) if that is right"
        )


def _is_of(store: str, place: str) -> bool:
    ours, asked = urlparse(store), urlparse(place)
    same_host = asked.netloc.rpartition("@")[2] == ours.netloc.rpartition("@")[2]
    if asked.scheme == "mlflow-artifacts":
        return not asked.netloc or same_host
    return same_host and asked.scheme == ours.scheme
