"""Petastorm's reader, told which row groups to read in which order. The one home of Petastorm's reading side."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from petastorm.arrow_reader_worker import ArrowReaderWorker
from petastorm.reader import Reader
from petastorm.workers_pool import EmptyResultError
from petastorm.workers_pool.thread_pool import ThreadPool
from petastorm.workers_pool.ventilator import ConcurrentVentilator

from pipelines.config import InputError
from pipelines.dataset import columns
from pipelines.dataset.manifest import Split
from pipelines.dataset.petastorm_files import petastorm_files
from pipelines.dataset.storage import Location

READ_COLUMNS = [columns.KEY, columns.IMAGE, columns.LABEL]


class _NumberedTables:
    """A results queue that hands on (place in the order, row group as an Arrow table), as workers publish them."""

    batched_output = True

    def read_next(self, pool: ThreadPool, schema: object, ngram: object) -> tuple[int, pa.Table]:
        try:
            numbered: tuple[int, pa.Table] = pool.get_results()
            return numbered
        except EmptyResultError:
            raise StopIteration from None


class _RowGroupWorker(ArrowReaderWorker):  # type: ignore[misc]  # Petastorm has no types
    @staticmethod
    def new_results_queue_reader() -> _NumberedTables:
        return _NumberedTables()

    def process(self, place: int, piece_index: int) -> None:
        piece = self._split_pieces[piece_index]
        try:
            table = piece.read(columns=READ_COLUMNS)
        except (pa.ArrowException, OSError) as error:
            # Raised here, it would end this thread with a traceback of Petastorm's; so it takes the table's place.
            first_line = str(error).strip().split("\n")[0]
            table = InputError(f"{piece.path}: not the Parquet that was written: {first_line}; preprocess again")
        self.publish_func((place, table))


class RowGroupReader(Reader):  # type: ignore[misc]  # Petastorm has no types
    """Row groups of `split` as Arrow tables of key, image (encoded) and label, in the order asked for.

    order: numbers of row groups, counted through the split's files as the manifest lists them; repeats are allowed.
    It is opened on the manifest's list of files: Petastorm then takes the schema from Parquet and unpickles nothing.
    Petastorm's own sharding and shuffling are off: docs/adr/0003 says why.
    """

    def __init__(self, folder: Location, split: Split, order: Sequence[int], threads: int) -> None:
        self._order = order
        self._place = 0
        self._early: dict[int, pa.Table | InputError] = {}
        self._groups = [(file.path, group, rows) for file in split.files for group, rows in enumerate(file.row_groups)]
        files = [folder / file.path for file in split.files]
        for file in files:
            if file.size_bytes is None:
                raise InputError(f"{file}: missing, though the manifest names it; preprocess again")
        try:
            super().__init__(
                petastorm_files(folder),
                [file.path for file in files],
                schema_fields=READ_COLUMNS,
                reader_pool=ThreadPool(threads),
                shuffle_row_groups=False,
                worker_class=_RowGroupWorker,
                is_batched_reader=True,
            )
        except (pa.ArrowException, OSError) as error:
            raise InputError(
                f"{folder}: a file is not the Parquet that was written: {error}; preprocess again"
            ) from None

    def _create_ventilator(
        self,
        row_group_indexes: list[int],
        shuffle_row_groups: bool,
        shuffle_row_drop_partitions: int,
        num_epochs: int,
        worker_predicate: object,
        max_ventilation_queue_size: int,
        seed: int | None,
    ) -> ConcurrentVentilator:
        """The seam: Petastorm asks here for what its threads read, in which order."""
        if len(row_group_indexes) != len(self._groups):
            raise InputError(
                f"the files hold {len(row_group_indexes)} row groups, the manifest says {len(self._groups)}; "
                "preprocess again"
            )
        items: list[dict[str, Any]] = [
            {"place": place, "piece_index": group} for place, group in enumerate(self._order)
        ]
        return ConcurrentVentilator(
            self._workers_pool.ventilate, items, max_ventilation_queue_size=max_ventilation_queue_size
        )

    def next_group(self) -> pa.Table:
        """The next row group of the order; an InputError that names the file if it is not what the manifest says."""
        while self._place not in self._early:
            place, table = self._next_numbered()
            self._early[place] = table
        table = self._early.pop(self._place)
        if isinstance(table, InputError):
            raise table
        path, group, rows = self._groups[self._order[self._place]]
        if table.num_rows != rows:
            raise InputError(
                f"{path}, row group {group}: {table.num_rows} rows, the manifest says {rows}; preprocess again"
            )
        self._place += 1
        return table

    def _next_numbered(self) -> tuple[int, pa.Table]:
        # Petastorm's thread pool (0.13.1) is usually in order and usually complete. While it waits for the first
        # item it may start the round at another thread, and between looking at its threads and at the ventilator it
        # may miss the last item and report the end. So places are numbered, and one report of the end is not believed.
        try:
            numbered: tuple[int, pa.Table] = next(self)
        except StopIteration:
            try:
                numbered = next(self)
            except StopIteration:
                raise AssertionError("more row groups asked for than there are in the order") from None
        return numbered

    def close(self) -> None:
        """End the reading threads."""
        self.stop()
        self.join()
