"""The model that is trained: a network of `models/` with a dataset's normalisation, new or from a checkpoint."""

import models
from models.classifier import Classifier
from pipelines.config import InputError
from pipelines.dataset.manifest import Manifest
from pipelines.training.checkpoint import Checkpoint


def make_classifier(network: str, manifest: Manifest) -> Classifier:
    """With fresh weights, for the classes and channels of the dataset; an InputError if there is no such network."""
    try:
        built = models.create(network, len(manifest.classes), manifest.channels)
    except ValueError as error:
        raise InputError(str(error)) from None
    return Classifier(built, manifest.statistics.mean, manifest.statistics.std)


def restore_classifier(checkpoint: Checkpoint, manifest: Manifest) -> Classifier:
    """With a checkpoint's weights; an InputError if it was trained on another dataset."""
    if checkpoint.about["dataset_digest"] != manifest.digest:
        raise InputError("the checkpoint was trained on another dataset than this one: their digests differ")
    model = make_classifier(checkpoint.about["settings"]["model"]["name"], manifest)
    model.load_state_dict(checkpoint.model)
    return model
