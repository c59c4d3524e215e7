"""The model that is trained: a network of `models/` with a dataset's normalisation, new or from a checkpoint."""

import torch
from torch import Tensor

import models
from models.classifier import Classifier
from pipelines.config import InputError, ModelSettings
from pipelines.dataset.manifest import Manifest
from pipelines.training.checkpoint import Checkpoint


def make_classifier(settings: ModelSettings, manifest: Manifest, input_size: tuple[int, int] | None) -> Classifier:
    """With fresh weights, for the classes and channels of the dataset.

    input_size: (height, width) of the images, the paper's if None.
    Raises InputError if there is no such network or option, or its layers have no place in images of that size.
    """
    try:
        built = models.create(settings.name, len(manifest.classes), manifest.channels, input_size, **settings.options)
    except models.SizeError as error:
        raise InputError(f"{error} (change their size with loader.train_transforms)") from None
    except ValueError as error:
        raise InputError(str(error)) from None
    return Classifier(built, manifest.statistics.mean, manifest.statistics.std)


def check_fits(model: Classifier, images: Tensor, network: str, setting: str) -> None:
    """Raise an InputError that names `setting` if the model cannot take such images, uint8 (N, H, W, C)."""
    try:
        with torch.no_grad():
            model.eval()(images)
    except RuntimeError as error:
        _, height, width, channels = images.shape
        raise InputError(
            f"{network} cannot take images of {height} x {width} x {channels}: {error}; "
            f"change their size with {setting}"
        ) from None


def restore_classifier(checkpoint: Checkpoint, manifest: Manifest, run: str, average: bool = False) -> Classifier:
    """With the weights of `run`'s checkpoint; an InputError if it was trained on another dataset.

    average: with the moving average of the weights; an InputError if there is none.
    """
    if checkpoint.about["dataset_digest"] != manifest.digest:
        raise InputError(f"{run} was trained on another dataset than this one (digests differ); name other runs=[…]")
    settings = ModelSettings.model_validate(checkpoint.about["settings"]["model"])
    model = make_classifier(settings, manifest, checkpoint.about.get("input_size"))
    if average and checkpoint.average is None:
        raise InputError(
            f"average = true: {run} was trained without ema_decay; leave average out, or name other runs=[…]"
        )
    model.load_state_dict(checkpoint.average if average and checkpoint.average else checkpoint.model)
    return model
