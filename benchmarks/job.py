"""The real job, as the benchmarks run it: a replicated source, a Spark session on this machine, timed waves."""

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

from pyspark.sql import SparkSession

from pipelines.config import ImageSettings, OutputSettings, PreprocessSettings, SourceSettings
from pipelines.preprocess.make_dataset import make_dataset
from pipelines.preprocess.sources.names import has_image_suffix
from pipelines.preprocess.waves import Waves
from pipelines.spark import spark_session

IMAGE = ImageSettings(resize="shorter_side", size=256, quality=90)

IMAGES_PER_CLASS = 50


def replicate(images: Path, count: int, folder: Path) -> list[str]:
    """`count` files in class folders of 50: hard links to the images in turn, or copies where links cannot be.

    images: any tree.
    """
    originals = originals_in(images)
    files = []
    for number in range(count):
        original = originals[number % len(originals)]
        file = folder / f"class-{number // IMAGES_PER_CLASS:05d}" / f"{number:07d}{original.suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        _link(original, file)
        files.append(str(file))
    return files


def originals_in(images: Path) -> list[Path]:
    """The image files in a tree, sorted; ValueError if there are none."""
    originals = sorted(path for path in images.rglob("*") if has_image_suffix(path.name))
    if not originals:
        raise ValueError(f"{images}: no images in it")
    return originals


def _link(original: Path, file: Path) -> None:
    try:
        file.hardlink_to(original)
    except OSError:  # another disk, somebody else's file or too many links
        shutil.copyfile(original, file)


def start_session(cores: int) -> SparkSession:
    """The jobs' session, with this Python and so many cores of this machine."""
    os.environ |= {
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "PYSPARK_SUBMIT_ARGS": f"--master local[{cores}] pyspark-shell",
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    return spark_session("strata-benchmark")


def settings_for(source: Path, output: Path, **layout: int) -> PreprocessSettings:
    """layout: of OutputSettings, where it is not what users get."""
    return PreprocessSettings(
        source=SourceSettings(kind="imagefolder", path=str(source)),
        image=IMAGE,
        output=OutputSettings.model_validate({"path": str(output), **layout}),
        val_fraction=0,
    )


def run_job(spark: SparkSession, settings: PreprocessSettings) -> tuple[float, float]:
    """Seconds of `make_dataset` and, of these, of its waves: without listing, Petastorm's metadata and report."""
    start = time.perf_counter()
    with redirect_stdout(sys.stderr), _timing_waves() as waves_s:
        make_dataset(spark, settings)
    return time.perf_counter() - start, sum(waves_s)


@contextmanager
def _timing_waves() -> Iterator[list[float]]:
    seconds: list[float] = []
    write = Waves.write

    def timed(*arguments: Any) -> Any:
        start = time.perf_counter()
        records = write(*arguments)
        seconds.append(time.perf_counter() - start)
        return records

    with patch.object(Waves, "write", timed):
        yield seconds
