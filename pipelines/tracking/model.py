"""A trained network as a model in MLflow's own format, in a folder."""

from importlib.metadata import version
from pathlib import Path

import mlflow
import numpy as np
import torch
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from torch import Tensor, nn

from pipelines.dataset.logged_model import ModelMetadata

METADATA_KEY = "strata"
"""Of MLflow's metadata of a model, what ours are under."""


def save_model(model: nn.Module, images: Tensor, metadata: ModelMetadata, folder: Path) -> None:
    """Write it with its signature: uint8 (N, H, W, C) to logits (N, classes), any N.

    images: at least two examples; the exporter would freeze a batch of one into the graph.
    """
    assert len(images) > 1, "see above"
    model = model.cpu().eval()
    with torch.no_grad():
        logits = model(images)
    mlflow.pytorch.save_model(
        model,
        str(folder),
        signature=ModelSignature(
            inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, *images.shape[1:]))]),
            outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, *logits.shape[1:]))]),
        ),
        input_example=images.numpy(),
        serialization_format="pt2",
        pip_requirements=[f"{name}=={version(name).split('+')[0]}" for name in ("mlflow", "torch", "numpy")],
        metadata={METADATA_KEY: metadata.model_dump(mode="json")},
    )
