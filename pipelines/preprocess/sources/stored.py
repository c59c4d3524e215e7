"""The images of a split of a dataset of ours, as they are stored."""

from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.config import InputError
from pipelines.dataset import columns
from pipelines.dataset.manifest import Manifest, ParquetFile, SplitName, group_checksum
from pipelines.dataset.storage import Location
from pipelines.preprocess.sources.kept import Kept
from pipelines.preprocess.sources.listing import LISTED, Listing
from pipelines.preprocess.sources.parts import Part, gather, joined

_ROW_GROUPS = Kept[pa.ChunkedArray](1)


@dataclass(frozen=True)
class ReadStored:
    """`offset` is the number of the row in its row group, `length` that of the row group."""

    root: Location
    checksums: dict[str, tuple[str, ...]]
    """Of the row groups of each file."""

    def __call__(self, file: str, offset: int, length: int) -> bytes:
        images = _ROW_GROUPS.get(f"{self.root / file} {length}", partial(self._images, file, length))
        return bytes(images[offset].as_py())

    def _images(self, file: str, group: int) -> pa.ChunkedArray:
        with (self.root / file).open() as opened:
            table = pq.ParquetFile(opened).read_row_group(group, columns.LOADED, use_threads=False)
        if group_checksum(table) != self.checksums[file][group]:
            raise InputError(
                f"{self.root / file}, row group {group}: altered since it was written; make the dataset again"
            )
        return table.column(columns.IMAGE)


def list_stored(root: Location, manifest: Manifest, name: SplitName) -> Listing:
    """Keys are the images' own; augmented variants are left out. An InputError if the split is empty."""
    split = manifest.split(name, root)
    folder = root / manifest.version
    whole = joined(gather([partial(_list_file, folder, file) for file in split.files], folder))
    return Listing(
        whole.items,
        manifest.classes,
        f"the {name} split of the dataset {root}",
        str(folder),
        ReadStored(folder, {file.path: file.group_checksums for file in split.files}),
        f"{manifest.digest} {name}",
    )


def _list_file(folder: Location, file: ParquetFile) -> Part:
    with (folder / file.path).open() as opened:
        table = pq.ParquetFile(opened).read([columns.KEY, columns.LABEL, columns.VARIANT])
    rows = pa.array([row for count in file.row_groups for row in range(count)], pa.int64())
    groups = pa.array([group for group, count in enumerate(file.row_groups) for _ in range(count)], pa.int64())
    if len(rows) != table.num_rows:
        raise InputError(
            f"{folder / file.path}: {table.num_rows} rows, the manifest says {len(rows)}; make the dataset again"
        )
    arrays = [
        table.column(columns.KEY),
        pa.array([file.path] * len(rows), pa.string()),
        rows,
        groups,
        table.column(columns.LABEL),
        pa.nulls(len(rows), pa.string()),
    ]
    items = pa.Table.from_arrays(arrays, schema=LISTED)
    return Part(items.filter(pc.equal(table.column(columns.VARIANT), 0)))
