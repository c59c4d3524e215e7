"""Files written by Spark, a wave at a time. A committed wave is never done again, whatever ends the job."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import pyarrow as pa
from pyspark import Broadcast
from pyspark.errors import PythonException
from pyspark.sql import SparkSession

from pipelines.config import InputError
from pipelines.dataset.storage import Location
from pipelines.preprocess.records import FileRecord, Journal
from pipelines.preprocess.write import pack, unpack
from pipelines.spark import Progress, progress_lines

ATTEMPTS = 3
"""How often a file is tried whose source or target could not be read or written."""


RECORD_DDL = "record string"
"""Spark's schema of what a task tells: a FileRecord as JSON."""


class WritesFiles(Protocol):
    """Travels to executors, so an instance must pickle."""

    @property
    def folder(self) -> Location:
        """Which every executor can write to."""

    def write_file(self, path: str, numbers: Sequence[int], items: pa.Table) -> FileRecord:
        """The file of these variants of these items, whole and durable, or what kept it from being written."""


class FileTask(NamedTuple):
    """One file to write."""

    path: str
    """Below the version's folder."""
    variants: Sequence[int]
    """Numbers of the variants that it holds of every item."""
    items: pa.Table
    """LISTED."""

    @property
    def rows(self) -> int:
        return len(self.variants) * len(self.items)


def cut(stem: str, items: pa.Table, variants: Sequence[int], rows_per_file: int) -> Iterator[FileTask]:
    """`items` in files named `stem-00000.parquet`, …, each with all variants of its items."""
    per_file = max(1, rows_per_file // len(variants))
    for number, start in enumerate(range(0, len(items), per_file)):
        yield FileTask(f"{stem}-{number:05d}.parquet", variants, items.slice(start, per_file))


@dataclass(frozen=True)
class Waves:
    """Writes tasks with Spark."""

    spark: SparkSession
    journal: Journal
    check: Callable[[Sequence[FileRecord]], None]
    """Called with all records so far whenever a wave is committed; may raise."""
    files_per_wave: int | None

    def write(self, tasks: Sequence[FileTask], writer: WritesFiles) -> list[FileRecord]:
        """The records of all tasks, by path; files that earlier waves committed are not written again.

        Raises InputError if a file cannot be written; what was written stays, and the same call goes on after it.
        """
        wanted = {task.path for task in tasks}
        kept = [record for record in self.journal.read() if record.path in wanted and _is_there(record, writer)]
        done = {record.path: record for record in kept}
        todo = [task for task in tasks if task.path not in done]
        if done:
            print(f"{len(done)} of {len(tasks)} files are written already; going on after them", flush=True)
            self.check(kept)
        per_wave = self.files_per_wave or 4 * self.spark.sparkContext.defaultParallelism
        with progress_lines(self.spark, "images", sum(task.rows for task in todo)) as progress:
            for start in range(0, len(todo), per_wave):
                done |= {record.path: record for record in self._wave(todo[start : start + per_wave], writer, progress)}
                self.check(list(done.values()))
        return [done[path] for path in sorted(done)]

    def _wave(self, tasks: Sequence[FileTask], writer: WritesFiles, progress: Progress) -> list[FileRecord]:
        written: list[FileRecord] = []
        failed: list[FileRecord] = []
        waiting = list(tasks)
        for _ in range(ATTEMPTS):
            with progress.wave(len(waiting), sum(task.rows for task in waiting)):
                records = self._run(waiting, writer)
            written += [record for record in records if not record.failure]
            failed = [record for record in records if record.failure]
            waiting = [task for task in tasks if task.path in {record.path for record in failed}]
            if not all(record.kind_of_failure == "io" for record in failed) or not waiting:
                break
        _check_shared(written, writer)
        if written:
            self.journal.commit(written)
        if failed:
            raise InputError(_explanation(failed, writer))
        return written

    def _run(self, tasks: Sequence[FileTask], writer: WritesFiles) -> list[FileRecord]:
        # A broadcast, not a DataFrame of the listings: that would pass through a second Python worker for every task.
        packed = self.spark.sparkContext.broadcast([(task.path, task.variants, pack(task.items)) for task in tasks])
        numbers = self.spark.range(0, len(tasks), 1, len(tasks))
        try:
            rows = numbers.mapInArrow(_RunTasks(writer, packed), RECORD_DDL).collect()
        except PythonException as error:
            if missing := re.search(r"ModuleNotFoundError: No module named '([^']+)'", str(error)):
                make = f"make dist{' WITH=torch' if missing[1] == 'torch' else ''}"
                raise InputError(
                    f"the executors' Python has no package {missing[1]}: `{make}` packs what they need and prints "
                    "how to hand it to spark-submit"
                ) from None
            raise
        finally:
            packed.destroy()
        return [FileRecord.from_json(row.record) for row in rows]


@dataclass(frozen=True)
class _RunTasks:
    """What runs on executors: numbers of tasks to their records."""

    writer: WritesFiles
    packed: "Broadcast[list[tuple[str, Sequence[int], bytes]]]"

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for number in (number for batch in batches for number in batch.column(0).to_pylist()):
            path, variants, items = self.packed.value[number]
            record = self.writer.write_file(path, variants, unpack(items))
            yield pa.RecordBatch.from_pydict({"record": [record.to_json()]})


def _is_there(record: FileRecord, writer: WritesFiles) -> bool:
    return not record.row_groups or (writer.folder / record.path).size_bytes == record.size_bytes


def _check_shared(records: Sequence[FileRecord], writer: WritesFiles) -> None:
    for record in records:
        if not _is_there(record, writer):
            raise InputError(
                f"{writer.folder / record.path}: an executor wrote it, but the driver does not see it: "
                "output.path must be on storage that all machines share"
            )


def _explanation(failed: Sequence[FileRecord], writer: WritesFiles) -> str:
    first = max(failed, key=lambda record: record.kind_of_failure != "io")
    again = "then give the same command: it goes on after what is written"
    if first.kind_of_failure == "no_room":
        return f"no room left to write {writer.folder / first.path} ({first.failure}). Make room, {again}"
    if first.kind_of_failure == "input":
        return first.failure
    return f"{len(failed)} files could not be written, the first {first.path}: {first.failure}. Mend that, {again}"
