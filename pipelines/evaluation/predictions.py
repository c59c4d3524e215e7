"""Predictions on disk: a folder a run, Parquet with one row an image, so that ensembles need no networks in memory.

A probability is a float32 that has float16's eleven significant bits: any reader of Parquet gives it as a number. The
Parquet of pyarrow 14 and Spark 3.5 has no type of 16 bits; of bytes that hold float16 every reader would have to know,
and float16 itself ends at 6e-8, where two classes that a sure network finds unlikely are both 0. Rounded so, values
repeat, and Parquet keeps each once in a dictionary, which brings them near 16 bits on disk.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.dataset import columns
from pipelines.evaluation.outcomes import Doubles, Floats, Outcomes

COMPRESSION = "zstd"
_DROPPED_BITS = 13
"""Of float32's 23 after the leading one, float16 has 10."""
_VALUES_OF_GROUP = 1 << 22
"""Probabilities in a row group, about: 16 MiB in memory."""


@dataclass(frozen=True)
class Source:
    """What predictions are of; every row has it."""

    run: str
    protocol: str
    dataset_digest: str
    classes_digest: str
    """Of the class table that labels and probabilities are numbered by."""


def rounded(probabilities: Floats) -> Floats:
    """To eleven significant bits, half-way to even."""
    bits = np.ascontiguousarray(probabilities, np.float32).view(np.uint32)
    half = np.uint32((1 << (_DROPPED_BITS - 1)) - 1)
    even = (bits >> _DROPPED_BITS) & np.uint32(1)
    kept = (bits + half + even) & np.uint32(0xFFFFFFFF << _DROPPED_BITS & 0xFFFFFFFF)
    return kept.view(np.float32)


def predictions_table(source: Source, keys: list[str], probabilities: Floats | Doubles, seen: Outcomes) -> pa.Table:
    """As columns.PREDICTIONS. probabilities: (N, classes), not rounded yet."""
    count, classes = probabilities.shape
    flat = pa.array(rounded(probabilities.astype(np.float32)).ravel())
    offsets = pa.array(np.arange(0, (count + 1) * classes, classes, dtype=np.int32))
    values = [
        pa.array([source.run] * count),
        pa.array(keys, pa.string()),
        pa.array(seen.labels, pa.int32()),
        pa.array(seen.ranks, pa.int32()),
        pa.ListArray.from_arrays(offsets, flat),
        *(pa.array([each] * count) for each in (source.protocol, source.dataset_digest, source.classes_digest)),
    ]
    return pa.table(values, schema=columns.PREDICTIONS)


class PredictionWriter:
    """Writes one run's predictions: a part a worker, all of them visible at once when the `with` block ends well.

    folder: where the predictions of all runs lie; every worker must see it. Earlier ones of the run are replaced.
    """

    def __init__(self, folder: Path, source: Source, rank: int, wait_for_all: Callable[[], None]) -> None:
        self.path = folder / source.run
        self._temporary = folder / f".{source.run}.tmp"
        self._source, self._rank = source, rank
        self._wait_for_all = wait_for_all
        self._waiting: list[pa.Table] = []

    def __enter__(self) -> "PredictionWriter":
        if self._rank == 0:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary.mkdir(parents=True)
        self._wait_for_all()
        part = self._temporary / f"part-{self._rank:05d}.parquet"
        self._parquet = pq.ParquetWriter(part, columns.PREDICTIONS, compression=COMPRESSION)
        return self

    def write(self, keys: list[str], probabilities: Floats, seen: Outcomes) -> None:
        """Of N images of this worker. probabilities: (N, classes)."""
        self._waiting.append(predictions_table(self._source, keys, probabilities, seen))
        if sum(table.num_rows for table in self._waiting) * probabilities.shape[1] >= _VALUES_OF_GROUP:
            self._write_group()

    def _write_group(self) -> None:
        if self._waiting:
            self._parquet.write_table(pa.concat_tables(self._waiting))
        self._waiting = []

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        if error_type is None:
            self._write_group()
        self._parquet.close()
        if error_type is not None:
            return
        self._wait_for_all()
        if self._rank == 0:
            shutil.rmtree(self.path, ignore_errors=True)
            self._temporary.rename(self.path)
