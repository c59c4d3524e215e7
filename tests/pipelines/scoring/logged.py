"""A logged model as a job fetches it, of a network with random weights."""

from pathlib import Path

import torch

import models
from models.classifier import Classifier
from models.ensemble import Ensemble
from pipelines.dataset.logged_model import LoggedModel, ModelMetadata
from pipelines.tracking.model import save_model


def classifier(channels=3, seed=0):
    torch.manual_seed(seed)
    return Classifier(models.create("lenet5_modern", 10, channels), [0.4] * channels, [0.2] * channels).eval()


def logged_model(folder: Path, metadata: ModelMetadata) -> LoggedModel:
    """Of `classifier`, or of two as an ensemble if it answers with probabilities."""
    channels = metadata.image.channels
    model = classifier(channels)
    if metadata.output == "probabilities":
        model = Ensemble([model, classifier(channels, seed=1)], [0.5, 0.5], of_logits=False).eval()
    shape = (32, 32, channels)
    save_model(model, torch.zeros((2, *shape), dtype=torch.uint8), metadata, folder / "model")
    return LoggedModel("models:/some/1", folder / "model" / "data" / "model.pt2", shape, metadata)
