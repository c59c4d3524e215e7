"""Which split a file is of, where its name tells: `train-00000-of-00294.parquet`, `imagenet-val-000003.tar`."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from pipelines.config import InputError
from pipelines.dataset.manifest import SplitName

_WORD = re.compile(r"(?<![a-z])(train|training|val|valid|validation|test)(?![a-z])", re.IGNORECASE)
_SPLIT: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
}


class SplitFiles(NamedTuple):
    files: tuple[tuple[str, SplitName | None], ...]
    """Names and splits; every split is None where there is no validation set."""
    left_out: int
    """Files of a test set, beside others: their labels are secret or not for training."""

    def remark(self) -> str:
        """To be put behind a description."""
        plural = "s" if self.left_out > 1 else ""
        return f", {self.left_out} file{plural} of a test set left out" if self.left_out else ""


def by_split(names: Sequence[str], place: str) -> SplitFiles:
    """An InputError if some files are for validation and others of an unknown split, or none is for training."""
    words = {name: _word(name) for name in names}
    kept = [name for name in names if words[name] != "test"] or list(names)
    splits = {name: _SPLIT.get(words[name]) for name in kept}
    if "val" not in splits.values():
        return SplitFiles(tuple((name, None) for name in kept), len(names) - len(kept))
    if "train" not in splits.values():
        raise InputError(f"{place}: {kept[0]} is for validation, but no file's name has `train` in it")
    if unknown := [name for name in kept if splits[name] is None]:
        raise InputError(f"{place}: whether {unknown[0]} is for training or validation is not in its name")
    return SplitFiles(tuple(splits.items()), len(names) - len(kept))


def _word(name: str) -> str:
    """The word for a split in the file's own name, or else in its folders'; empty if there is none."""
    found = _WORD.search(name.rpartition("/")[2]) or _WORD.search(name)
    return found[1].lower() if found else ""
