"""Petastorm's reader, told which row groups to read in which order. The one home of Petastorm's reading side."""

import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from petastorm.arrow_reader_worker import ArrowReaderWorker
from petastorm.reader import Reader
from petastorm.workers_pool import EmptyResultError, thread_pool
from petastorm.workers_pool.thread_pool import ThreadPool
from petastorm.workers_pool.ventilator import Ventilator

from pipelines.config import InputError
from pipelines.dataset import columns
from pipelines.dataset.manifest import ParquetFile, Split, group_checksum
from pipelines.dataset.petastorm_files import petastorm_files
from pipelines.dataset.storage import Location

AGAIN = "preprocess again"

_FOOTERS = 512
"""Files whose footers are kept, at some tens of kB each: else every row group would fetch its file's anew."""


FooterOf = Callable[[Location], pq.FileMetaData]


def _read_footer(location: Location) -> pq.FileMetaData:
    return pq.read_metadata(location.path, filesystem=location.filesystem)


@dataclass(frozen=True)
class _Group:
    """A row group, and what the manifest says of it."""

    file: ParquetFile
    number: int
    """Within the file."""

    def read(self, location: Location, footer_of: FooterOf) -> pa.Table:
        """Raises InputError that names the file if it is not what the manifest says."""
        check_size(location, self.file)
        # Buffered in one piece first, which is faster than page by page. Not mapped into memory: a file that is
        # truncated while it is mapped kills the process that reads it.
        parquet = pq.ParquetFile(
            location.path, filesystem=location.filesystem, metadata=footer_of(location), pre_buffer=True
        )
        if parquet.num_row_groups != len(self.file.row_groups):
            raise InputError(
                f"{location}: {parquet.num_row_groups} row groups, "
                f"the manifest says {len(self.file.row_groups)}; {AGAIN}"
            )
        row_group = parquet.metadata.row_group(self.number)
        if any(row_group.column(number).compression != "UNCOMPRESSED" for number in range(row_group.num_columns)):
            raise InputError(
                f"{location}, row group {self.number}: packed, and could be of any size; expected a file as "
                f"jobs/preprocess.py writes it, which packs nothing; {AGAIN}"
            )
        rows, expected = row_group.num_rows, self.file.row_groups[self.number]
        if rows != expected:
            raise InputError(f"{location}, row group {self.number}: {rows} rows, the manifest says {expected}; {AGAIN}")
        table = parquet.read_row_group(self.number, columns.LOADED, use_threads=False)
        if missing := set(columns.LOADED) - set(table.column_names):
            raise InputError(f"{location}: without the columns {', '.join(sorted(missing))}; {AGAIN}")
        if group_checksum(table) != self.file.group_checksums[self.number]:
            raise InputError(f"{location}, row group {self.number}: altered since it was written; {AGAIN}")
        return table


class _Read(NamedTuple):
    """What a reading thread hands over."""

    table: pa.Table | None
    error: InputError | None
    seconds: float


class _Results:
    """A results queue that hands on what workers publish."""

    batched_output = True

    def read_next(self, pool: ThreadPool, schema: object, ngram: object) -> _Read:
        try:
            read: _Read = pool.get_results()
            return read
        except EmptyResultError:
            raise StopIteration from None


class _RowGroupWorker(ArrowReaderWorker):  # type: ignore[misc]  # Petastorm has no types
    @staticmethod
    def new_results_queue_reader() -> _Results:
        return _Results()

    def process(self, group: _Group, folder: Location, footer_of: FooterOf) -> None:
        started = time.perf_counter()
        table = error = None
        location = folder / group.file.path
        try:
            table = group.read(location, footer_of)
        except InputError as wrong:
            # Raised here, it would end this thread with a traceback of Petastorm's; so it takes the table's place.
            error = wrong
        except (pa.ArrowException, OSError) as wrong:
            first_line = str(wrong).strip().split("\n")[0]
            error = InputError(f"{location}: not the Parquet that was written: {first_line}; {AGAIN}")
        self.publish_func(_Read(table, error, time.perf_counter() - started))


def check_size(location: Location, file: ParquetFile) -> None:
    """Raise an InputError that names the file if it is missing, or not as long as the manifest says."""
    size = location.size_bytes
    if size is None:
        raise InputError(f"{location}: missing, though the manifest names it; {AGAIN}")
    if size != file.size_bytes:
        raise InputError(
            f"{location}: {size:,} bytes, the manifest says {file.size_bytes:,}: "
            f"not the Parquet that was written; {AGAIN}"
        )


class _InOrder(Ventilator):  # type: ignore[misc]  # Petastorm has no types
    """Hands out items in their order, so many ahead of what has been taken: one more whenever one was taken.

    Petastorm's own ventilates from a thread of its own, which its pool races with (docs/adr/0003). This one acts in the
    thread that takes results, so the pool's round of its threads stays in step and its end is the end.
    """

    def __init__(self, ventilate: Callable[..., None], items: Iterable[dict[str, Any]], ahead: int) -> None:
        super().__init__(ventilate)
        self._items = iter(items)
        self._ahead = ahead
        self._has_more = True

    def start(self) -> None:
        for _ in range(self._ahead + 1):  # the one that is asked for, and those after it
            self.processed_item()

    def processed_item(self) -> None:
        item = next(self._items, None)
        self._has_more = item is not None
        if item is not None:
            self._ventilate_fn(**item)

    def completed(self) -> bool:
        return not self._has_more

    def stop(self) -> None:
        self._has_more = False


class RowGroupReader(Reader):  # type: ignore[misc]  # Petastorm has no types
    """Row groups of `split` as Arrow tables of columns.LOADED, images encoded, in the order asked for.

    order: numbers of row groups, counted through the split's files as the manifest lists them; repeats are allowed.
    ahead: row groups that are read, or being read, before they are asked for.

    Petastorm opens the first of the manifest's files, takes the schema from Parquet and unpickles nothing; the others
    are opened when they are read. Its own sharding and shuffling are off: docs/adr/0003 says why.
    """

    def __init__(self, folder: Location, split: Split, order: Iterable[int], threads: int, ahead: int) -> None:
        self._folder = folder
        self._order = order
        self._ahead = ahead
        self._footer_of = lru_cache(_FOOTERS)(_read_footer)
        self._files = split.files
        self._groups_until = list(accumulate(len(file.row_groups) for file in split.files))
        self.seconds = 0.0
        """That threads spent reading, all together."""
        first = folder / split.files[0].path
        check_size(first, split.files[0])
        try:
            super().__init__(
                petastorm_files(folder),
                [first.path],
                schema_fields=columns.LOADED,
                # Of a row group, two messages lie in the queue: itself, and that it is done.
                reader_pool=ThreadPool(threads, results_queue_size=2 * (ahead + threads)),
                shuffle_row_groups=False,
                worker_class=_RowGroupWorker,
                is_batched_reader=True,
            )
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{first}: not the Parquet that was written: {error}; {AGAIN}") from None

    def _create_ventilator(self, *petastorms_own: object) -> _InOrder:
        """The seam: Petastorm asks here for what its threads read, in which order."""
        return _InOrder(self._workers_pool.ventilate, self._items(), self._ahead)

    def _items(self) -> Iterator[dict[str, Any]]:
        for number in self._order:
            file = bisect_right(self._groups_until, number)
            within = number - (self._groups_until[file - 1] if file else 0)
            group = _Group(self._files[file], within)
            yield {"group": group, "folder": self._folder, "footer_of": self._footer_of}

    def next_group(self) -> pa.Table:
        """The next row group of the order; an InputError that names the file if it is not what the manifest says."""
        read: _Read = next(self)
        self.seconds += read.seconds
        if read.error is not None:
            raise read.error
        return read.table

    def close(self) -> None:
        """End the reading threads."""
        self.stop()
        self.join()


# Threads of Petastorm's pool that wait for work look for it every millisecond, which costs 3% of a core; they still end
# within this time.
thread_pool.IO_TIMEOUT_INTERVAL_S = 0.02

# Arrow's default pool gives large blocks back to the system at once and gets them anew page fault by page fault:
# reading a row group of images took four times as long with it.
with suppress(NotImplementedError):
    pa.set_memory_pool(pa.mimalloc_memory_pool())
