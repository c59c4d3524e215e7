"""Ensembles from stored predictions, by Spark: nothing that grows with images times classes leaves the executors.

One shuffle brings the members' predictions together, image by image, on the executors' disks; every question after it
is a pass over them. Nor does the memory of an executor grow: a task holds some thousand rows at once.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.dataset import columns
from pipelines.evaluation.combining import (
    agreeing,
    combined,
    fit_weights,
    wrong_along,
    wrong_with_each,
)
from pipelines.evaluation.mistakes import Mistake
from pipelines.evaluation.outcomes import SMALLEST, Doubles, Floats, Integers, outcomes_of
from pipelines.evaluation.predictions import COMPRESSION, Source, predictions_table
from pipelines.evaluation.tally import Evaluation, Tally
from pipelines.spark import progress_lines

_TASK_BYTES = 64 << 20
"""Of probabilities in one task, about."""
_SCHEMA = (
    "run string, key string, label int, label_rank int, probabilities array<float>, protocol string, "
    "dataset_digest string, classes_digest string"
)


@dataclass(frozen=True)
class Block:
    """What all members say of N images."""

    keys: list[str]
    labels: Integers
    """(N,)"""
    P: Floats
    """(N, members, classes): probabilities."""


class Together:
    """The members' predictions, image by image.

    members: checked rows of all of `runs`, as columns.PREDICTIONS.
    """

    def __init__(self, members: DataFrame, runs: Sequence[str]) -> None:
        self.members, self.runs = len(runs), list(runs)
        self._spark = members.sparkSession
        first = members.select(F.size("probabilities").alias("classes"), *_SOURCE).first()
        assert first is not None, "read_members has seen to it"
        self.classes: int = first.classes
        self._source = {name: first[name] for name in _SOURCE}
        self.rows = members
        places = F.create_map(*(F.lit(each) for place, run in enumerate(runs) for each in (run, place)))
        predictions = members.count()
        self.images = predictions // self.members
        self._tasks = max(
            self._spark.sparkContext.defaultParallelism,
            predictions * self.classes * 4 // _TASK_BYTES,
        )
        self._tasks_before = members.rdd.getNumPartitions() + self._tasks
        self._frame = (
            self.rows.select(places[F.col("run")].alias("member"), "key", "label", "probabilities")
            .repartition(self._tasks, "key")
            .sortWithinPartitions("key", "member")
            .persist(StorageLevel.DISK_ONLY)
        )

    def close(self) -> None:
        """Give back the disks of the executors."""
        self._frame.unpersist()

    @contextmanager
    def _progress(self, what: str) -> Iterator[None]:
        """Lines while the block goes over all images once; the first time, after having brought them together."""
        with (
            progress_lines(self._spark, f"{what}, images", self.images) as progress,
            progress.wave(self._tasks_before + self._tasks, self.images),
        ):
            yield
        self._tasks_before = 0

    def summed(self, what: str, measure: Callable[[Block], Doubles]) -> Doubles:
        """The sum of what `measure` gives, an array of one shape, for the blocks of all images.

        what: is being asked, for the lines of progress.
        """
        members = self.members

        def task(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            sums = [measure(block).astype(np.float64) for block in blocks(batches, members)]
            if sums:
                total = np.sum(sums, 0)
                yield pa.RecordBatch.from_arrays([pa.array([total.tobytes()])], ["sums"])

        with self._progress(what):
            of_tasks = self._frame.mapInArrow(task, "sums binary").rdd
            total: Doubles = of_tasks.map(lambda row: np.frombuffer(row.sums)).treeReduce(np.add)
        return total

    def evaluate(self, weights: Doubles, of_logits: bool) -> Evaluation:
        """The ensemble of all members with these weights, on every image."""
        classes = self.classes

        def measure(block: Block) -> Doubles:
            tally = Tally(classes)
            tally.add(outcomes_of(combined(block.P, weights, of_logits), block.labels))
            return tally.sums

        return Evaluation.of(self.summed("errors", measure), classes)

    def curve(self, orders: Integers, of_logits: bool) -> Doubles:
        """(orders, members, 2): top-1 and top-5 error of the first 1, 2, … members of each order. See `wrong_along`."""
        return self._shares(
            "curve", lambda block: wrong_along(block.P, block.labels, orders, of_logits), (*orders.shape, 2)
        )

    def agreement(self) -> Doubles:
        """(members, members): the share of images for which two members find the same class most probable."""
        return self._shares("agreement", lambda block: agreeing(block.P), (self.members, self.members))

    def errors_with_each(self, chosen: Sequence[int], of_logits: bool) -> Doubles:
        """(members,): the top-1 error of the chosen members together with each one."""
        return self._shares(
            f"member {len(chosen) + 1} of the greedy selection",
            lambda block: wrong_with_each(block.P, block.labels, chosen, of_logits).sum(0),
            (self.members,),
        )

    def _shares(self, what: str, counted: Callable[[Block], Doubles | Integers], shape: tuple[int, ...]) -> Doubles:
        """What `counted` counts, as a share of all images."""
        sums = self.summed(what, lambda block: np.append(len(block.labels), counted(block)).astype(np.float64))
        shares: Doubles = sums[1:].reshape(shape) / sums[0]
        return shares

    def fitted_weights(self) -> Doubles:
        """(members,): see `combining.fit_weights`. One number an image and member comes to the driver for it."""
        members = self.members

        def task(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for block in blocks(batches, members):
                of_labels = np.take_along_axis(block.P, block.labels[:, None, None], 2)[:, :, 0]
                yield pa.RecordBatch.from_arrays([pa.array([of_labels.astype(np.float32).tobytes()])], ["of_labels"])

        with self._progress("weights"):
            parts = self._frame.mapInArrow(task, "of_labels binary").collect()
        return fit_weights(np.frombuffer(b"".join(part.of_labels for part in parts), np.float32).reshape(-1, members))

    def write_predictions(self, folder: Path, run: str, weights: Doubles, of_logits: bool) -> None:
        """The ensemble's own predictions, as jobs/evaluate.py writes those of a run."""
        members, source = self.members, Source(run, **self._source)

        def task(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for block in blocks(batches, members):
                probabilities = combined(block.P, weights, of_logits)
                seen = outcomes_of(probabilities, block.labels)
                yield from predictions_table(source, block.keys, probabilities, seen).to_batches()

        written = self._frame.mapInArrow(task, _SCHEMA).write.option("compression", COMPRESSION)
        with self._progress("predictions"):
            written.parquet(f"file://{(folder / run).absolute()}")


_SOURCE = ("protocol", "dataset_digest", "classes_digest")


def of_part(predictions: DataFrame, part: str, seed: int) -> DataFrame:
    """All images, or those of one half: `fitting` and `reporting` share them by a seeded hash of the key."""
    if part == "all":
        return predictions
    is_fitting = F.pmod(F.xxhash64(F.lit(seed), "key"), F.lit(2)) == 0
    return predictions.where(is_fitting if part == "fitting" else ~is_fitting)


def blocks(batches: Iterable[pa.RecordBatch], members: int) -> Iterator[Block]:
    """Rows (member, key, label, probabilities), those of an image one after another in the order of the members."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        table = pa.Table.from_batches([*waiting, batch]).combine_chunks()
        whole = table.num_rows // members * members
        waiting = table.slice(whole).to_batches()
        if whole:
            yield _block(table.slice(0, whole), members)
    assert not sum(batch.num_rows for batch in waiting), "every member has every image"


def _block(table: pa.Table, members: int) -> Block:
    values = table.column("probabilities").combine_chunks().flatten().to_numpy()
    firsts = table.take(pa.array(np.arange(0, table.num_rows, members)))
    labels = firsts.column(columns.LABEL).to_numpy().astype(np.int64)
    return Block(firsts.column(columns.KEY).to_pylist(), labels, values.reshape(len(labels), members, -1))


def worst_mistakes(predictions: DataFrame, count: int) -> list[Mistake]:
    """Of stored predictions of one run, worst first."""
    strongest = "array_max(transform(probabilities, (p, i) -> IF(i = label, -1f, p)))"
    wrong = predictions.where(F.col("label_rank") > 0).select(
        "key",
        "label",
        F.expr(f"array_position(probabilities, {strongest}) - 1").alias("predicted"),
        F.expr(strongest).alias("confidence"),
        F.expr("probabilities[label]").alias("of_label"),
    )
    return [
        Mistake(float(-np.log(max(row.of_label, SMALLEST))), row.key, row.label, int(row.predicted), row.confidence)
        for row in wrong.orderBy("of_label", "key").limit(count).collect()
    ]
