"""Whether networks that were trained on one dataset can be judged by another's validation images."""

from collections.abc import Set

from pipelines.config import InputError
from pipelines.dataset.lookup import split_keys
from pipelines.dataset.manifest import Manifest
from pipelines.dataset.storage import Address


def check_same_classes(trained: Manifest, predicted: Manifest, run: str) -> None:
    """Raise an InputError that names the first difference if the two do not mean the same by each label."""
    if trained.channels != predicted.channels:
        raise InputError(f"{run} was trained on images of {trained.channels} channels, these have {predicted.channels}")
    if len(trained.classes) != len(predicted.classes):
        raise InputError(
            f"{run} was trained for {len(trained.classes)} classes, this dataset has {len(predicted.classes)}"
        )
    for ours, theirs in zip(trained.classes, predicted.classes, strict=True):
        if ours != theirs:
            raise InputError(
                f"{run} was trained with another class table: class {ours.index} is {ours.wnid or ours.words!r} there "
                f"and {theirs.wnid or theirs.words!r} in this dataset"
            )


def check_unseen(keys: Set[str], trained_on: Address, manifest: Manifest, run: str) -> None:
    """Raise an InputError that names an image if any of these was among the training images of that dataset.

    By their keys, which are the names that images have at their source: the same image, resized otherwise, has other
    bytes. Two sources that share names are taken for one; nobody could tell from what a manifest knows.
    """
    if seen := split_keys(trained_on, manifest, "train", keys):
        raise InputError(
            f"{run} was trained on {len(seen):,} of these {len(keys):,} validation images, {min(seen)} among them "
            f"(in {trained_on}): its errors would say nothing; leave it out, or predict images that it has not seen"
        )
