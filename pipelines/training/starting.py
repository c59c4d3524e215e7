"""Weights that a training starts from, of another one: the same network for other classes, or a deeper VGG after A."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from models.vgg import started_from_a
from pipelines.config import InputError, ModelSettings
from pipelines.training.checkpoint import Checkpoint


def start_from(network: nn.Module, settings: ModelSettings, source: Checkpoint, name: str) -> list[str]:
    """Give `network`, made from `settings`, the source's weights; the names of those that stay fresh.

    A VGG takes of A's what its paper does (Simonyan and Zisserman 2015, section 3.1). Else the networks must be the
    same, and the layers that score the classes stay fresh where their number differs.
    Raises InputError that says what does not fit. name: of the source, for errors.
    """
    fresh = network.state_dict()
    trained = {
        key.removeprefix("network."): weight for key, weight in source.model.items() if key.startswith("network.")
    }
    theirs = source.about["settings"]["model"]["name"]
    try:
        if theirs == settings.name:
            started = _with_other_classes(fresh, trained)
        elif theirs.startswith("vgg_a") and settings.name.startswith("vgg_"):
            started = started_from_a(fresh, trained)
        else:
            raise ValueError(f"it is of {theirs}, and this trains {settings.name}: name one of the same network")
    except ValueError as error:
        raise InputError(f"start_from = {name}: {error}") from None
    network.load_state_dict(started)
    return [key for key, weight in fresh.items() if key not in trained or not torch.equal(started[key], trained[key])]


def _with_other_classes(fresh: Mapping[str, Tensor], trained: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What scores classes has as many rows as there are; its other dimensions are those of what comes before."""
    if missing := sorted(fresh.keys() ^ trained.keys()):
        raise ValueError(f"{missing[0]} is in one of the two networks alone: give both the same model.options")
    started = {}
    for key, weight in fresh.items():
        if weight.shape[1:] != trained[key].shape[1:] or weight.dim() != trained[key].dim():
            raise ValueError(
                f"{key} is {tuple(trained[key].shape)} there and {tuple(weight.shape)} here: "
                "train on images of the same size and channels, with the same model.options"
            )
        started[key] = trained[key] if weight.shape == trained[key].shape else weight
    return started
