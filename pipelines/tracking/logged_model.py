"""Fetching a logged model by the name that a user knows it by."""

from collections.abc import Iterator
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile

import mlflow
import numpy as np
import torch
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from pydantic import ValidationError
from torch import nn

from pipelines.config import InputError, TrackingSettings
from pipelines.dataset.graph_file import load_graph
from pipelines.dataset.logged_model import LoggedModel, ModelMetadata
from pipelines.tracking.model import METADATA_KEY
from pipelines.tracking.runs import trained_runs
from pipelines.tracking.store import connect

REGISTERED, OF_RUN = "models:/", "runs:/"
_AGAIN = "train again, or make the ensemble again with jobs/ensemble.py"
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


def fetch_model(settings: TrackingSettings, wanted: str, folder: Path) -> LoggedModel:
    """The model in `folder`, once it has answered there; see ScoreSettings.model for what may be wanted.

    Raises InputError if there is none, with a list of those there are, or it is no model of this Strata.
    """
    client = connect(settings)
    uri = _uri(client, settings, wanted)
    try:
        path = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder)))
        saved = Model.load(str(path))
    except (MlflowException, OSError) as error:
        first_line = str(error).strip().split("\n")[0]
        raise InputError(f"model = {wanted}: {uri} cannot be fetched: {first_line}") from None
    graph = path / "data" / "model.pt2"
    metadata = _metadata(saved, uri)
    if not graph.is_file() or saved.signature is None:
        raise InputError(f"model = {wanted}: {uri} is no exported graph with a signature; {_AGAIN}")
    _, height, width, channels = saved.signature.inputs.inputs[0].shape
    _check_answer(graph, uri, (height, width, channels), len(metadata.class_names))
    return LoggedModel(uri, graph, (height, width, channels), metadata)


def _uri(client: MlflowClient, settings: TrackingSettings, wanted: str) -> str:
    if wanted.startswith(OF_RUN):
        return wanted
    if not wanted.startswith(REGISTERED):
        (trained,) = trained_runs(settings, [wanted])
        return f"{OF_RUN}{trained.run_id}/model"
    name, at, alias = wanted.removeprefix(REGISTERED).partition("@")
    try:
        if at:
            return f"{REGISTERED}{name}/{client.get_model_version_by_alias(name, alias).version}"
        name, _, version = name.partition("/")
        client.get_model_version(name, version)
    except MlflowException as error:
        if error.error_code not in _ABSENT:
            raise
        there_are = ", ".join(_registered(client)) or "none yet: jobs/ensemble.py registers one"
        raise InputError(f"model = {wanted}: no such model in {settings.uri}; there are {there_are}") from None
    return wanted


def _registered(client: MlflowClient) -> Iterator[str]:
    """Each newest version, or by its alias."""
    for model in client.search_registered_models():
        newest = max((int(version.version) for version in model.latest_versions or []), default=None)
        if model.aliases:
            yield from (f"{REGISTERED}{model.name}@{alias}" for alias in model.aliases)
        elif newest is not None:
            yield f"{REGISTERED}{model.name}/{newest}"


def _metadata(saved: Model, uri: str) -> ModelMetadata:
    ours: Any = (saved.metadata or {}).get(METADATA_KEY)
    try:
        return ModelMetadata.model_validate(ours)
    except ValidationError:
        why = "says otherwise than this Strata" if ours else "does not say"
        raise InputError(f"{uri} {why} how an image file becomes its input; {_AGAIN}") from None


def _check_answer(graph: Path, uri: str, shape: tuple[int, int, int], classes: int) -> None:
    """Raise an InputError if the model cannot be loaded here, or answers otherwise than it says."""
    model = _loaded(graph, uri)
    with torch.no_grad():
        answer = model(torch.from_numpy(np.zeros((1, *shape), np.uint8)))
    if answer.shape != (1, classes):
        raise InputError(f"{uri} answers with {answer.shape[1]} numbers for {classes} classes; {_AGAIN}")


def _loaded(graph: Path, uri: str) -> nn.Module:
    """Not by MLflow, which imports modules that came with the model, and those that it names, before it looks at it."""
    try:
        return load_graph(graph)
    except (
        BadZipFile,
        UnpicklingError,
        RuntimeError,
        LookupError,
        AttributeError,
        TypeError,
        ValueError,
        OSError,
    ) as error:
        raise InputError(f"{uri} cannot be loaded: {str(error).strip().splitlines()[0]}; {_AGAIN}") from None
