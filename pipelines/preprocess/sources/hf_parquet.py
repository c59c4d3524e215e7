"""Hugging Face's Parquet files of images, such as those of ILSVRC/imagenet-1k: columns `image` and `label`.

https://huggingface.co/docs/datasets/image_dataset and .../about_dataset_features: `image` is a struct of `bytes` and
`path`, `label` an integer that the schema's metadata names.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.config import InputError, SourceSettings
from pipelines.dataset.manifest import SplitName
from pipelines.dataset.storage import Location
from pipelines.preprocess.sources import labels
from pipelines.preprocess.sources.kept import Kept
from pipelines.preprocess.sources.listing import (
    Item,
    Listing,
    class_table,
    file_facts,
    fingerprint_of,
    root_of,
)
from pipelines.preprocess.sources.names import is_clutter
from pipelines.preprocess.sources.parts import Part, Seen, gather, joined
from pipelines.preprocess.sources.splits import by_split


class _RowGroup(NamedTuple):
    first_row: int
    images: pa.ChunkedArray
    """Bytes, or null."""


_BYTES_OF_AN_IMAGE = 20
"""At the least, of any format that is read: a header and some pixels. Rows without images and rows whose images repeat
may take less, so that few rows may be of any size."""
_FEW_ROWS = 100_000
_ROWS_AT_ONCE = 65_536

_ROW_GROUPS = Kept[_RowGroup](1)
_OPEN = Kept[pq.ParquetFile](8)


@dataclass(frozen=True)
class ReadRow:
    """`offset` is the number of the row, `length` that of its row group. A row without bytes gives none."""

    root: Location

    def __call__(self, file: str, offset: int, length: int) -> bytes:
        location = self.root / file
        parquet = _OPEN.get(str(location), lambda: pq.ParquetFile(location.open()))
        first_row = sum(_rows_of_groups(parquet)[:length])
        group = _ROW_GROUPS.get(f"{location} {length}", lambda: _RowGroup(first_row, _images(parquet, length)))
        return bytes(group.images[offset - group.first_row].as_py() or b"")


def _rows_of_groups(parquet: pq.ParquetFile) -> list[int]:
    return [parquet.metadata.row_group(number).num_rows for number in range(parquet.num_row_groups)]


def _images(parquet: pq.ParquetFile, number: int) -> pa.ChunkedArray:
    images = parquet.read_row_group(number, columns=["image.bytes"]).column("image")
    return images.flatten()[0]  # null where the struct is, unlike its field


def list_hf_parquet(source: SourceSettings) -> Listing:
    """Keys are `<split>/<file without .parquet>/<row>`, without the split where there is no validation set."""
    root = root_of(source)
    folder = parquet_folder(root)
    if folder is None:
        raise InputError(f"source.path = {root}: no Parquet files, neither in it nor in data/ below it")
    found = by_split([info.base_name for info in _parquet_files(folder)], str(folder))
    names = _class_names(folder / found.files[0][0])
    classes = len(names or source.class_names)
    whole = joined(gather([partial(_list_file, folder, *file, classes) for file in found.files], folder))
    return Listing(
        whole.items,
        class_table(source, names or labels.names(whole.items), complete=bool(names)),
        f"Hugging Face's Parquet files in {folder}{found.remark()}",
        str(folder),
        ReadRow(folder),
        fingerprint_of(whole.items, whole.facts, names),
        whole.rejects,
        read_in_file_order=True,
    )


def parquet_folder(root: Location) -> Location | None:
    """The one of `data/` and the root itself that has Parquet files."""
    return next((folder for folder in (root / "data", root) if _parquet_files(folder)), None)


def _parquet_files(folder: Location) -> list[Any]:
    return [info for info in folder.files() if info.base_name.endswith(".parquet") and not is_clutter(info.base_name)]


@contextmanager
def _opened(location: Location) -> Iterator[pq.ParquetFile]:
    try:
        with location.open() as file:
            yield pq.ParquetFile(file)
    except pa.ArrowInvalid as error:
        raise InputError(f"{location}: not readable as Parquet: {error}") from None


def _class_names(location: Location) -> list[str]:
    """From the description of the features that the `datasets` library leaves in the schema; empty without it."""
    with _opened(location) as parquet:
        described = (parquet.schema_arrow.metadata or {}).get(b"huggingface", b"{}")
    try:
        features = json.loads(described)["info"]["features"]
        return [str(name) for name in features["label"]["names"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []


def _list_file(folder: Location, file: str, split: SplitName | None, classes: int) -> Part:
    seen = Seen(facts=[file_facts(folder / file)])
    stem = file.removesuffix(".parquet")
    with _opened(folder / file) as parquet:
        _refuse_columns(parquet.schema_arrow, folder / file)
        _refuse_more_rows_than_images(parquet, folder / file)

        def items() -> Iterator[Item]:
            for row, (label, group) in enumerate(_labels(parquet)):
                key = f"{split}/{stem}/{row:06d}" if split else f"{stem}/{row:06d}"
                try:
                    yield Item(key, file, row, group, labels.checked(label, classes), split)
                except labels.NoLabelError as why:
                    seen.reject(key, str(folder / file), "no_label", f"row {row}: {why}")

        return seen.part(items())


def _labels(parquet: pq.ParquetFile) -> Iterator[tuple[Any, int]]:
    """Of every row, with the number of its row group."""
    for group in range(parquet.num_row_groups):
        for batch in parquet.iter_batches(_ROWS_AT_ONCE, row_groups=[group], columns=["label"]):
            for label in batch.column(0).to_pylist():
                yield label, group


def _refuse_more_rows_than_images(parquet: pq.ParquetFile, location: Location) -> None:
    """Parquet packs equal rows to next to nothing, but each becomes an item in memory."""
    size_bytes, rows = location.size_bytes or 0, sum(_rows_of_groups(parquet))
    if rows > max(_FEW_ROWS, size_bytes // _BYTES_OF_AN_IMAGE):
        raise InputError(
            f"{location}: {rows:,} rows in {size_bytes:,} bytes; expected an image in each, of {_BYTES_OF_AN_IMAGE} "
            "bytes at the least: get the file anew, from whom you trust"
        )


def _refuse_columns(schema: pa.Schema, location: Location) -> None:
    kinds: dict[str, Any] = dict(zip(schema.names, schema.types, strict=True))
    image, label = kinds.get("image", pa.null()), kinds.get("label", pa.null())
    has_bytes = pa.types.is_struct(image) and image.get_field_index("bytes") >= 0
    if not has_bytes or not pa.types.is_integer(label):
        found = ", ".join(f"{name} {kind}" for name, kind in kinds.items())
        raise InputError(
            f"{location}: its columns are {found}; expected image, a struct with bytes, and label, an integer"
        )
