"""Where each image of a listing goes: its split, its place in one global shuffle. Pure functions of key and seed."""

import hashlib
from collections.abc import Iterable

from pipelines.config import PreprocessSettings
from pipelines.dataset.manifest import SplitName
from pipelines.preprocess.sources import Item


def hash_of(seed: int, purpose: str, key: str) -> int:
    """Uniform in [0, 2**64), the same on every machine; keys that are neighbours end far apart."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{purpose}:{key}".encode(), digest_size=8).digest(), "big")


def assign(items: Iterable[Item], settings: PreprocessSettings) -> dict[SplitName, list[Item]]:
    """Every item in its split, in the order in which the dataset will hold them."""
    splits: dict[SplitName, list[Item]] = {"train": [], "val": []}
    held_out = int(settings.val_fraction * 2**64)
    for item in items:
        hashed: SplitName = "val" if hash_of(settings.seed, "split", item.key) < held_out else "train"
        splits[item.split or hashed].append(item)
    for members in splits.values():
        members.sort(key=lambda item: (hash_of(settings.seed, "order", item.key), item.key))
    return splits
