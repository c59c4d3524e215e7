"""One folder a class: the folder's name is the class's, its position among the sorted names the label."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from pipelines.config import InputError, SourceSettings
from pipelines.dataset.manifest import SplitName
from pipelines.dataset.storage import Location
from pipelines.preprocess.sources.imagenet import refuse_empty
from pipelines.preprocess.sources.listing import (
    Listing,
    ReadRange,
    class_table,
    fingerprint_of,
    folder_at,
    root_of,
)
from pipelines.preprocess.sources.names import is_wnid
from pipelines.preprocess.sources.parts import Part, gather, joined, list_folder
from pipelines.preprocess.sources.walk import Walk

TRAIN = "train"
VAL_NAMES = ("val", "valid", "validation")


@dataclass(frozen=True)
class _Side:
    """The class folders of one split, or of a source without splits."""

    folder: Location
    split: SplitName | None
    boundary: Location
    """Links inside it are followed."""

    def names(self) -> list[str]:
        """Of the classes, sorted; what begins with a dot or `__` is a tool's own."""
        return [name for name in self.folder.folders() if not name.startswith((".", "__"))]


def list_imagefolder(source: SourceSettings) -> Listing:
    """Keys are `<class>/<path>`; where the source has both splits, `train/` or `val/` goes before them."""
    train, val = _sides(source)
    names = train.names()
    if not names:
        raise InputError(f"{train.folder}: no folders in it; expected one for each class")
    if val and (strange := sorted(set(val.names()) - set(names))):
        raise InputError(f"{val.folder}: the class {strange[0]} has no folder in {train.folder}")
    root = _common_root(train.folder, val.folder) if val else train.folder
    labels = {name: label for label, name in enumerate(names)}
    parts = _list_side(train, root, labels, source) + (_list_side(val, root, labels, source) if val else [])
    whole = joined(parts)
    return Listing(
        whole.items,
        class_table(source, names, [name if is_wnid(name) else None for name in names], complete=True),
        f"class folders in {train.folder}" + (f" and {val.folder}" if val else "") + whole.left_out(),
        str(root),
        ReadRange(root),
        fingerprint_of(whole.items, whole.facts, names),
        whole.rejects,
    )


def _sides(source: SourceSettings) -> tuple[_Side, _Side | None]:
    """Where training and validation images are; no second one: the split is left to a later stage."""
    root = root_of(source)
    folders = root.folders()
    own_val = [name for name in VAL_NAMES if name in folders]
    train = root / TRAIN if TRAIN in folders else root
    if source.val_path is not None:
        val = folder_at("source.val_path", source.val_path)
        return _Side(train, "train", root), _Side(val, "val", val)
    if TRAIN not in folders and own_val:
        raise InputError(f"source.path = {root}: {own_val[0]}/ is there, but no train/ beside it")
    if len(own_val) > 1:
        raise InputError(
            f"source.path = {root}: both {own_val[0]}/ and {own_val[1]}/; remove one or set source.val_path"
        )
    if own_val:
        return _Side(train, "train", root), _Side(root / own_val[0], "val", root)
    return _Side(train, None, root), None


def _common_root(train: Location, val: Location) -> Location:
    """The folder that both lie in, so that one root and paths below it name every file."""
    same_store = (train.filesystem, train.prefix, train.options) == (val.filesystem, val.prefix, val.options)
    path = os.path.commonpath([train.path, val.path]) if same_store else ""
    if not path:
        raise InputError(f"source.val_path = {val} must lie in the same storage as source.path = {train}")
    if path in (train.path, val.path):
        raise InputError(f"source.val_path = {val} and the training images in {train} must not lie in one another")
    return Location(train.filesystem, path, train.prefix, train.options)


def _list_side(side: _Side, root: Location, labels: Mapping[str, int], source: SourceSettings) -> list[Part]:
    walk = Walk(root, source.follow_links, side.boundary.path)
    names = side.names()
    parts = gather([_lister(walk, side, name, labels[name]) for name in names], root)
    refuse_empty(parts, names, str(side.folder))
    return parts


def _lister(walk: Walk, side: _Side, name: str, label: int) -> Callable[[], Part]:
    folder = walk.below_root((side.folder / name).path)
    return partial(list_folder, walk, folder, f"{side.split}/{name}" if side.split else name, label, side.split)
