"""Where each image of a listing goes: its split, its place in one global shuffle. Pure functions of key and seed."""

import hashlib
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.config import PreprocessSettings
from pipelines.dataset.manifest import SplitName
from pipelines.preprocess.sources.listing import Listing


def hash_of(seed: int, purpose: str, key: str) -> int:
    """Uniform in [0, 2**64), the same on every machine; keys that are neighbours end far apart."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{purpose}:{key}".encode(), digest_size=8).digest(), "big")


def _hashes(seed: int, purpose: str, keys: Iterable[object], count: int) -> NDArray[np.uint64]:
    return np.fromiter((hash_of(seed, purpose, str(key)) for key in keys), np.uint64, count)


def assign(listing: Listing, settings: PreprocessSettings) -> dict[SplitName, pa.Table]:
    """Every item in its split, in the order in which the dataset will hold them."""
    items = listing.items
    own_split = items.column("split")
    val = np.asarray(pc.fill_null(pc.equal(own_split, "val"), False))
    undecided = np.flatnonzero(np.asarray(pc.is_null(own_split)))
    if len(undecided):
        val[undecided[_held_out(items.take(undecided), settings)]] = True
    return {
        "train": _shuffled(items.take(np.flatnonzero(~val)), settings.seed, listing.read_in_file_order),
        "val": _shuffled(items.take(np.flatnonzero(val)), settings.seed, listing.read_in_file_order),
    }


def _held_out(items: pa.Table, settings: PreprocessSettings) -> NDArray[np.int64]:
    """Rows that validate: of every class the same share, those whose keys hash lowest."""
    labels = np.asarray(items.column("label"))
    by_class = np.lexsort([_hashes(settings.seed, "split", items.column("key").to_pylist(), len(items)), labels])
    starts = np.searchsorted(labels[by_class], labels[by_class])
    rank = np.arange(len(items)) - starts
    size = np.bincount(labels)[labels[by_class]]
    return np.asarray(by_class[rank < np.floor(size * settings.val_fraction + 0.5)])


def _shuffled(items: pa.Table, seed: int, in_blocks: bool) -> pa.Table:
    """In the order of the keys' hashes; in_blocks: of blocks that are read together, then of keys."""
    by_key = _hashes(seed, "order", items.column("key").to_pylist(), len(items))
    if not in_blocks:
        return items.take(np.argsort(by_key, kind="stable"))
    blocks = zip(items.column("file").to_pylist(), items.column("length").to_pylist(), strict=True)
    by_block = _hashes(seed, "block", (f"{file}:{group}" for file, group in blocks), len(items))
    return items.take(np.lexsort([by_key, by_block]))


def place_in_file(seed: int, key: str, variant: int) -> int:
    """What the rows of a file are sorted by where they cannot be read in the order they are to be stored in."""
    return hash_of(seed, f"place:{variant}", key)
