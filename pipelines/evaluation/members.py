"""The stored predictions of an ensemble's members, read by Spark, and whether they may be averaged."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from pipelines.config import InputError

_SHOWN = 3
"""Keys named in an error."""


@dataclass(frozen=True)
class Errors:
    """Of one run over its stored predictions; fractions."""

    run: str
    top1: float
    top5: float
    images: int


def read_members(spark: SparkSession, folder: Path, runs: Sequence[str]) -> DataFrame:
    """The predictions of all these runs, as columns.PREDICTIONS.

    Raises InputError that says what to do if one is missing or listed twice, or they are not all of the same images of
    the same dataset, with the same class table, shown by the same protocol.
    """
    if len(runs) < 2:
        raise InputError(f"an ensemble needs at least two runs, found {len(runs)}: train more seeds, or name the runs")
    twice = sorted({run for run in runs if runs.count(run) > 1})
    if twice:
        raise InputError(f"run {', '.join(twice)} is listed twice in runs; name each once, by its name or its id")
    for run in runs:
        if not (folder / run).is_dir():
            raise InputError(
                f"{folder / run}: no predictions of run {run}; make them with jobs/evaluate.py runs=[{run}]"
            )
    members = read_predictions(spark, folder, runs)
    if "label_rank" not in members.columns or "classes_digest" not in members.columns:
        raise InputError(f"{folder}: predictions of an older Strata; make them again with jobs/evaluate.py")
    _check_alike(members)
    _check_complete(members, folder)
    return members


def _check_alike(members: DataFrame) -> None:
    advice = {
        "dataset_digest": ("predict different datasets", "evaluate them on one"),
        "classes_digest": ("number different classes", "evaluate them with one class table"),
        "protocol": ("were shown images by different protocols", "evaluate them by one"),
    }
    of_runs = members.groupBy("run").agg(*(F.collect_set(name).alias(name) for name in advice)).orderBy("run").collect()
    for name, (what, todo) in advice.items():
        values = {value: row.run for row in reversed(of_runs) for value in row[name]}
        if len(values) > 1:
            shown = ", ".join(f"{value[:40]} of run {run}" for value, run in sorted(values.items()))
            raise InputError(f"the runs {what} ({shown}); {todo}")


def _check_complete(members: DataFrame, folder: Path) -> None:
    keys = members.select("key").distinct()
    images = keys.count()
    for row in members.groupBy("run").agg(F.count("*").alias("rows"), F.countDistinct("key").alias("keys")).collect():
        if row.rows > row.keys:
            raise InputError(
                f"{folder / row.run}: {row.rows - row.keys} predictions of run {row.run} are there twice; "
                "evaluate it again"
            )
        if row["keys"] < images:
            raise InputError(_lacking(members, keys, folder, row, images))


def _lacking(members: DataFrame, keys: DataFrame, folder: Path, row: Row, images: int) -> str:
    own = members.where(F.col("run") == row.run).select("key")
    some = keys.join(own, "key", "left_anti").orderBy("key").limit(_SHOWN + 1).collect()
    named = ", ".join(lacking.key for lacking in some[:_SHOWN]) + (", …" if len(some) > _SHOWN else "")
    return (
        f"{folder / row.run}: run {row.run} predicts {row['keys']} of {images} images, it lacks {named}; "
        f"evaluate it again with jobs/evaluate.py runs=[{row.run}]"
    )


def read_predictions(spark: SparkSession, folder: Path, runs: Sequence[str]) -> DataFrame:
    """All rows that these runs have in `folder`."""
    paths = (f"file://{(folder / run).absolute()}" for run in runs)
    escaped = (re.sub(r"([\[\]{}*?\\])", r"\\\1", path) for path in paths)  # Spark takes a path for a glob
    return spark.read.parquet(*escaped)


def errors(predictions: DataFrame) -> list[Errors]:
    """Top-1 and top-5 errors of each run, in order of the runs; reads the ranks alone."""
    rank = F.col("label_rank")
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
