"""Ensembles in MLflow's model registry."""

from dataclasses import dataclass
from importlib.metadata import version

import mlflow
import numpy as np
import torch
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from torch import Tensor

from models.ensemble import Ensemble
from pipelines.config import TrackingSettings
from pipelines.dataset.logged_model import ModelMetadata
from pipelines.tracking.model import METADATA_KEY
from pipelines.tracking.store import connect

CHAMPION = "champion"
ERROR_TAG, DATASET_TAG = "strata.eval_top1_error", "strata.dataset_digest"


@dataclass(frozen=True)
class Registered:
    name: str
    version: str
    is_champion: bool


def register_ensemble(
    settings: TrackingSettings,
    run_id: str,
    name: str,
    model: Ensemble,
    images: Tensor,
    metadata: ModelMetadata,
    error: float,
    dataset: str,
) -> Registered:
    """The ensemble as a new version of models:/NAME, logged with the run, which this ends.

    uint8 (N, H, W, C) to class probabilities float32 (N, classes), any N. It holds no code of ours. It becomes the
    champion, unless the one there errs less on the same dataset.
    images: at least two examples; the exporter would freeze a batch of one into the graph.
    """
    assert len(images) > 1, "see above"
    client, model = connect(settings), model.cpu().eval()
    with torch.no_grad():
        probabilities = model(images)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, *images.shape[1:]))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, *probabilities.shape[1:]))]),
    )
    with mlflow.start_run(run_id=run_id):
        logged = mlflow.pytorch.log_model(
            model,
            name="model",
            signature=signature,
            input_example=images.numpy(),
            serialization_format="pt2",
            registered_model_name=name,
            pip_requirements=[
                f"{package}=={version(package).split('+')[0]}" for package in ("mlflow", "torch", "numpy")
            ],
            metadata={METADATA_KEY: metadata.model_dump(mode="json")},
        )
    made = str(logged.registered_model_version)
    client.set_model_version_tag(name, made, ERROR_TAG, repr(error))
    client.set_model_version_tag(name, made, DATASET_TAG, dataset)
    wins = not _errs_less(client, name, error, dataset)
    if wins:
        client.set_registered_model_alias(name, CHAMPION, made)
    return Registered(name, made, wins)


def _errs_less(client: MlflowClient, name: str, error: float, dataset: str) -> bool:
    """Whether there is a champion, judged by the same dataset, whose error is below this one."""
    try:
        tags = client.get_model_version_by_alias(name, CHAMPION).tags
    except MlflowException as problem:
        if problem.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return False
    return tags.get(DATASET_TAG) == dataset and float(tags.get(ERROR_TAG, "inf")) < error
