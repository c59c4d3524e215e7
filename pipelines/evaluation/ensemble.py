"""Ensembles from stored predictions, by Spark: the average of the members' probabilities, image by image."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.ml.stat import Summarizer
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines.config import InputError


@dataclass(frozen=True)
class Errors:
    """Of one member, or of the ensemble, over the validation images; fractions."""

    run: str
    top1: float
    top5: float
    images: int


def read_members(spark: SparkSession, folder: Path, runs: Sequence[str]) -> DataFrame:
    """The predictions of all these runs, as columns.PREDICTIONS.

    Raises InputError if one is missing, or they are not all of the same images of the same dataset.
    """
    if len(runs) < 2:
        raise InputError(f"an ensemble needs at least two runs, found {len(runs)}: train more seeds, or name the runs")
    if len(set(runs)) < len(runs):
        raise InputError(f"a run is listed twice among {', '.join(runs)}")
    for run in runs:
        if not (folder / run).is_dir():
            raise InputError(
                f"{folder / run}: no predictions of run {run}; make them with jobs/evaluate.py runs=[{run}]"
            )
    members = read_predictions(spark, folder, runs)
    counted = members.agg(F.countDistinct("key"), F.collect_set("dataset_digest")).collect()[0]
    images, digests = counted[0], counted[1]
    if len(digests) > 1:
        raise InputError(f"the runs predict different datasets ({', '.join(sorted(digests))}); evaluate them on one")
    for run, predicted in members.groupBy("run").agg(F.countDistinct("key")).collect():
        if predicted < images:
            raise InputError(f"{folder / run}: run {run} predicts {predicted} of {images} images; evaluate it again")
    return members


def read_predictions(spark: SparkSession, folder: Path, runs: Sequence[str]) -> DataFrame:
    """All rows that these runs have in `folder`."""
    paths = (f"file://{(folder / run).absolute()}" for run in runs)
    escaped = (re.sub(r"([\[\]{}*?\\])", r"\\\1", path) for path in paths)  # Spark takes a path for a glob
    return spark.read.parquet(*escaped)


def average(members: DataFrame, run: str) -> DataFrame:
    """The predictions of the ensemble, as those of a run named `run`: the mean of the members' probabilities."""
    mean = Summarizer.mean(array_to_vector(F.col("probabilities")))
    averaged = members.groupBy("key", "label", "dataset_digest").agg(mean.alias("mean"))
    probabilities = vector_to_array(F.col("mean"), "float32").alias("probabilities")
    return averaged.select(F.lit(run).alias("run"), "key", "label", probabilities, "dataset_digest")


def _label_rank() -> Column:
    """As `metrics.label_ranks`: other classes that score at least as high as the label's."""
    return F.expr("size(filter(probabilities, p -> not (p < probabilities[label]))) - 1")


def errors(predictions: DataFrame) -> list[Errors]:
    """Top-1 and top-5 errors of each run in (run, label, probabilities), in order of the runs."""
    rank = _label_rank()
    rows = (
        predictions.groupBy("run")
        .agg(
            F.avg((rank >= 1).cast("double")).alias("top1"),
            F.avg((rank >= 5).cast("double")).alias("top5"),
            F.count("*").alias("images"),
        )
        .orderBy("run")
        .collect()
    )
    return [Errors(row.run, row.top1, row.top5, row.images) for row in rows]
