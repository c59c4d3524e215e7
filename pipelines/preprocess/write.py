"""Items to Parquet files, inside Spark tasks: the function that `mapInArrow` runs.

A task reads, processes and writes its files itself, with pyarrow, and hands back one small record a file. So image
bytes never cross between Python and the JVM, row groups hold exactly the rows asked for, and checksums need no second
reading. A file has a fixed name and, for a fixed input, fixed bytes: a task that is retried writes the same again.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.config import ImageSettings
from pipelines.dataset import columns
from pipelines.dataset.manifest import ParquetFile, sha256_of
from pipelines.preprocess.image import Reject, Stored, process
from pipelines.preprocess.sources import Item

LISTED = pa.schema(
    [("key", pa.string()), ("uri", pa.string()), ("offset", pa.int64()), ("length", pa.int64()), ("label", pa.int32())]
)

TASK_DDL = "path string, listing binary"
"""Spark's schema of what comes in: a row a file, with its items packed, so that a task is small to send."""

RECORD_DDL = "record string"
"""Spark's schema of what comes out: a FileRecord as JSON."""


def pack(items: Sequence[Item]) -> bytes:
    """The items of one file, in order, as a compressed Arrow stream of LISTED."""
    columns_of_items = list(zip(*items, strict=True))
    table = pa.table([pa.array(values) for values in columns_of_items[: len(LISTED)]], LISTED.names).cast(LISTED)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, LISTED, options=pa.ipc.IpcWriteOptions(compression="zstd")) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue())


@dataclass
class FileRecord:
    """What a task tells the driver of one file it wrote (or did not, if every image was rejected)."""

    path: str
    row_groups: list[int] = field(default_factory=list)
    size_bytes: int = 0
    sha256: str = ""
    class_counts: dict[int, int] = field(default_factory=dict)
    pixels: int = 0
    pixel_sum: list[int] = field(default_factory=list)
    product_sum: list[list[int]] = field(default_factory=list)
    rejects: list[dict[str, str]] = field(default_factory=list)

    def to_json(self) -> str:
        return json.dumps(self.__dict__)

    @staticmethod
    def from_json(text: str) -> "FileRecord":
        record = FileRecord(**json.loads(text))
        record.class_counts = {int(label): count for label, count in record.class_counts.items()}
        return record

    def parquet_file(self) -> ParquetFile:
        return ParquetFile(
            path=self.path, row_groups=tuple(self.row_groups), size_bytes=self.size_bytes, sha256=self.sha256
        )


@dataclass(frozen=True)
class WriteFiles:
    """Writes the files that a partition lists. An instance travels to the executors."""

    folder: str
    """The version's folder, which every executor can write to."""
    image: ImageSettings
    rows_per_group: int
    read: Callable[[str, int, int], bytes]

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Record batches of TASK_DDL to record batches of RECORD_DDL."""
        for batch in batches:
            for path, listing in zip(*batch.columns, strict=True):
                rows = pa.ipc.open_stream(listing.as_buffer()).read_all().to_pylist()
                record = self.write_file(path.as_py(), rows)
                yield pa.RecordBatch.from_pydict({"record": [record.to_json()]})

    def write_file(self, path: str, rows: Iterable[dict[str, Any]]) -> FileRecord:
        """One Parquet file; it appears under its name only when whole and flushed to disk."""
        record = FileRecord(path)
        target = Path(self.folder, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            # An image is compressed already; a second compression costs time and saves nothing.
            with (
                temporary.open("wb") as file,
                pq.ParquetWriter(file, columns.IMAGES, compression="none", use_dictionary=False) as parquet,
            ):
                for table in self._row_groups(rows, record):
                    parquet.write_table(table)
                    record.row_groups.append(table.num_rows)
                parquet.close()
                file.flush()
                os.fsync(file.fileno())
            if record.row_groups:
                record.size_bytes = temporary.stat().st_size
                record.sha256 = sha256_of(temporary)
                temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        return record

    def _row_groups(self, rows: Iterable[dict[str, Any]], record: FileRecord) -> Iterator[pa.Table]:
        pending: list[dict[str, Any]] = []
        for row in rows:
            stored = process(self.read(row["uri"], row["offset"], row["length"]), self.image)
            if isinstance(stored, Reject):
                record.rejects.append(
                    {"key": row["key"], "uri": row["uri"], "reason": stored.reason, "detail": stored.detail}
                )
                continue
            _count(record, row["label"], stored)
            pending.append(
                {
                    columns.KEY: row["key"],
                    columns.IMAGE: stored.encoded,
                    columns.LABEL: row["label"],
                    columns.HEIGHT: stored.height,
                    columns.WIDTH: stored.width,
                    columns.VARIANT: 0,
                }
            )
            if len(pending) == self.rows_per_group:
                yield pa.Table.from_pylist(pending, columns.IMAGES)
                pending = []
        if pending:
            yield pa.Table.from_pylist(pending, columns.IMAGES)


def _count(record: FileRecord, label: int, stored: Stored) -> None:
    record.class_counts[label] = record.class_counts.get(label, 0) + 1
    record.pixels += stored.height * stored.width
    zero = np.zeros_like(stored.product_sum)
    record.pixel_sum = (np.array(record.pixel_sum or zero[0]) + stored.pixel_sum).tolist()
    record.product_sum = (np.array(record.product_sum or zero) + stored.product_sum).tolist()
