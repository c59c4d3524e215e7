"""Keys and images of a dataset by name, for the few that somebody looks at; training goes through the loader."""

from collections.abc import Iterator, Set

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.dataset import columns
from pipelines.dataset.manifest import Manifest, SplitName
from pipelines.dataset.storage import Address, Location
from pipelines.images.codec import Image, decode


def split_keys(root: Address, manifest: Manifest, split: SplitName, wanted: Set[str] | None = None) -> set[str]:
    """The keys of a split, or which of those wanted it has; nothing else of its files is read."""
    asked = None if wanted is None else pa.array(sorted(wanted), pa.string())
    found: set[str] = set()
    for file in _files(root, manifest, split):
        keys = file.read(columns=[columns.KEY]).column(columns.KEY)
        found.update((keys if asked is None else keys.filter(pc.is_in(keys, asked))).to_pylist())
    return found


def stored_images(root: Address, manifest: Manifest, split: SplitName, wanted: Set[str]) -> dict[str, Image]:
    """The images of these keys, uint8 (H, W, C); those that a split does not have are left out."""
    asked, images = pa.array(sorted(wanted), pa.string()), dict[str, Image]()
    for file in _files(root, manifest, split):
        for group in range(file.num_row_groups):
            if len(images) == len(wanted):
                return images
            keys = file.read_row_group(group, [columns.KEY]).column(columns.KEY)
            if not pc.any(pc.is_in(keys, asked)).as_py():
                continue
            table = file.read_row_group(group, [columns.KEY, columns.IMAGE])
            for row in table.filter(pc.is_in(table.column(columns.KEY), asked)).to_pylist():
                images[row[columns.KEY]] = decode(row[columns.IMAGE], manifest.channels)
    return images


def _files(root: Address, manifest: Manifest, split: SplitName) -> Iterator[pq.ParquetFile]:
    for file in manifest.splits[split].files:
        with (Location.at(root) / manifest.version / file.path).open() as opened:
            yield pq.ParquetFile(opened)
