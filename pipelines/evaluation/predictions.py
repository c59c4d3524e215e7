"""Predictions on disk: a folder a run, Parquet with one row an image, so that ensembles need no networks in memory."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from pipelines.dataset import columns


class PredictionWriter:
    """Writes one run's predictions: a part a worker, all of them visible at once when the `with` block ends well.

    folder: where the predictions of all runs lie; every worker must see it. Earlier ones of the run are replaced.
    """

    def __init__(
        self, folder: Path, run_id: str, dataset_digest: str, rank: int, wait_for_all: Callable[[], None]
    ) -> None:
        self.path = folder / run_id
        self._temporary = folder / f".{run_id}.tmp"
        self._run_id, self._dataset_digest, self._rank = run_id, dataset_digest, rank
        self._wait_for_all = wait_for_all

    def __enter__(self) -> "PredictionWriter":
        if self._rank == 0:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary.mkdir(parents=True)
        self._wait_for_all()
        part = self._temporary / f"part-{self._rank:05d}.parquet"
        self._parquet = pq.ParquetWriter(part, columns.PREDICTIONS)
        return self

    def write(self, keys: list[str], labels: Tensor, probabilities: Tensor) -> None:
        """Of N images of this worker: labels (N,), probabilities (N, classes)."""
        rows = len(keys)
        values = [
            pa.array([self._run_id] * rows),
            pa.array(keys),
            pa.array(labels.cpu().numpy(), pa.int32()),
            pa.array(list(probabilities.float().cpu().numpy()), pa.list_(pa.float32())),
            pa.array([self._dataset_digest] * rows),
        ]
        self._parquet.write_table(pa.table(values, schema=columns.PREDICTIONS))

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        self._parquet.close()
        if error_type is not None:
            return
        self._wait_for_all()
        if self._rank == 0:
            shutil.rmtree(self.path, ignore_errors=True)
            self._temporary.rename(self.path)
