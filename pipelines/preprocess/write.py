"""Items to Parquet files, inside Spark tasks.

A task reads, processes and writes its files itself, with pyarrow, and hands back one small record a file. So image
bytes never cross between Python and the JVM, row groups hold exactly the rows asked for, and checksums need no second
reading. A file has a fixed name and, for a fixed input, fixed bytes: a task that is retried writes the same again.
"""

import errno
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.config import InputError
from pipelines.dataset import columns
from pipelines.dataset.manifest import group_checksum, sha256_of
from pipelines.dataset.storage import Location
from pipelines.preprocess.image import Reject, Stored
from pipelines.preprocess.records import FileRecord
from pipelines.preprocess.shuffle import place_in_file
from pipelines.preprocess.sources.listing import LISTED, WHOLE_FILE, Reader
from pipelines.preprocess.variants import Variants

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def pack(items: pa.Table) -> bytes:
    """The items of one file, in order, as a compressed Arrow stream of LISTED: small to send."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, LISTED, options=pa.ipc.IpcWriteOptions(compression="zstd")) as stream:
        stream.write_table(items)
    return bytes(sink.getvalue())


def unpack(packed: bytes) -> pa.Table:
    """What `pack` packed."""
    return pa.ipc.open_stream(packed).read_all()


class _Row(NamedTuple):
    key: str
    label: int
    variant: int
    stored: Stored


@dataclass(frozen=True)
class WriteFiles:
    """Writes the files that a partition lists. An instance travels to the executors."""

    folder: Location
    """The version's folder, which every executor can write to."""
    variants: Variants
    rows_per_group: int
    read: Reader
    root: str
    """Of the source, for people."""
    in_file_order: bool
    """The source wants the items of one file read in ascending order."""

    def write_file(self, path: str, numbers: Sequence[int], items: pa.Table) -> FileRecord:
        """One Parquet file of these variants of these items; it appears under its name only when whole and durable."""
        record = FileRecord(path)
        try:
            with ExitStack() as stack:
                rows = self._rows(items, numbers, record)
                if self.in_file_order or len(numbers) > 1:
                    rows = stack.enter_context(_Spool(rows, self.variants.seed)).in_place()
                self._write(self.folder / path, _row_groups(rows, self.rows_per_group), record)
        except (OSError, InputError) as error:
            # The driver decides whether to try again; Spark would do so at once and bury the reason.
            return failed(path, error)
        return record

    def _write(self, target: Location, groups: Iterator[pa.Table], record: FileRecord) -> None:
        first = next(groups, None)
        if first is None:
            return  # every image was rejected
        with target.writing() as temporary:
            # An image is compressed already; a second compression costs time and saves nothing.
            with pq.ParquetWriter(str(temporary), columns.IMAGES, compression="none", use_dictionary=False) as parquet:
                for table in chain([first], groups):
                    parquet.write_table(table)
                    record.row_groups.append(table.num_rows)
                    record.group_checksums.append(group_checksum(table))
            record.size_bytes = temporary.stat().st_size
            record.sha256 = sha256_of(temporary)

    def _rows(self, items: pa.Table, numbers: Sequence[int], record: FileRecord) -> Iterator[_Row]:
        if self.in_file_order:
            items = items.sort_by([("file", "ascending"), ("offset", "ascending")])
        for item in chain.from_iterable(batch.to_pylist() for batch in items.to_batches(256)):
            key, label = item["key"], item["label"]
            raw = read_item(self.read, item)
            if isinstance(raw, Reject):
                record.reject(key, f"{self.root}/{item['file']}", raw)
                continue
            for number in numbers:
                stored = self.variants.make(raw, key, number)
                if isinstance(stored, Reject):
                    record.reject(key, f"{self.root}/{item['file']}", stored)
                    break  # the other variants would be rejected too
                record.count(label, number, stored)
                yield _Row(key, label, number, stored)


def read_item(read: Reader, item: dict[str, Any]) -> bytes | Reject:
    """The bytes of one item, a row of LISTED. OSError, if more than this image cannot be read from here."""
    try:
        return read(item["file"], item["offset"], item["length"])
    except (FileNotFoundError, PermissionError) as error:
        if item["length"] != WHOLE_FILE:
            raise  # a tar, and so thousands of images
        return Reject("unreadable", f"{type(error).__name__}: {error}")


def failed(path: str, error: OSError | InputError) -> FileRecord:
    """Of a file that could not be written, and whether another attempt may help."""
    if isinstance(error, InputError):
        return FileRecord(path, failure=f"{error}", kind_of_failure="input")
    return FileRecord(path, failure=f"{error}", kind_of_failure="no_room" if error.errno in _NO_ROOM else "io")


def _row_groups(rows: Iterator[_Row], size: int) -> Iterator[pa.Table]:
    pending: list[_Row] = []
    for row in rows:
        pending.append(row)
        if len(pending) == size:
            yield _table(pending)
            pending = []
    if pending:
        yield _table(pending)


def _table(rows: Sequence[_Row]) -> pa.Table:
    arrays = {
        columns.KEY: [row.key for row in rows],
        columns.IMAGE: [row.stored.encoded for row in rows],
        columns.LABEL: [row.label for row in rows],
        columns.HEIGHT: [row.stored.height for row in rows],
        columns.WIDTH: [row.stored.width for row in rows],
        columns.VARIANT: [row.variant for row in rows],
    }
    return pa.Table.from_pydict(arrays, columns.IMAGES)


class _Spool:
    """Rows of one file that come in the order they are read and leave in the order they are stored.

    Their encoded images wait in an unnamed temporary file, so that memory does not grow with the size of a file.
    """

    def __init__(self, rows: Iterator[_Row], seed: int) -> None:
        self._rows = rows
        self._seed = seed

    def __enter__(self) -> "_Spool":
        self._file = tempfile.TemporaryFile(prefix="strata-")
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def in_place(self) -> Iterator[_Row]:
        """All rows, in the order of their hashes."""
        waiting: list[tuple[int, int, int, _Row]] = []
        for row in self._rows:
            start, length = self._file.tell(), self._file.write(row.stored.encoded)
            place = place_in_file(self._seed, row.key, row.variant)
            waiting.append((place, start, length, row._replace(stored=row.stored.without_bytes())))
        for _, start, length, row in sorted(waiting, key=lambda entry: (entry[0], entry[3].key)):
            self._file.seek(start)
            yield row._replace(stored=row.stored.with_bytes(self._file.read(length)))
