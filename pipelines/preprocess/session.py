"""The Spark session of our jobs: our own code shipped to the executors, progress in plain lines."""

import atexit
import shutil
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from pyspark.sql import SparkSession

PROGRESS_EVERY_S = 5.0


def spark_session(name: str) -> SparkSession:
    """The session that spark-submit configured (local[*] without a master), able to import `pipelines` on executors."""
    builder = SparkSession.builder.appName(name)
    builder = builder.config("spark.ui.showConsoleProgress", "false")  # progress_lines tells more
    builder = builder.config("spark.executorEnv.PYTHONWARNINGS", "ignore::FutureWarning")  # see pipelines/dataset
    spark = builder.getOrCreate()
    spark.sparkContext.addPyFile(str(_packed_code()))
    return spark


@cache
def _packed_code() -> Path:
    folder = tempfile.mkdtemp(prefix="strata-code-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # executors fetch it for as long as the session lives
    packages = Path(__file__).resolve().parents[1]
    archive = Path(folder, "strata.zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for source in sorted(packages.rglob("*.py")):
            zipped.write(source, source.relative_to(packages.parent))
    return archive


@contextmanager
def progress_lines(spark: SparkSession, what: str, items: int, tasks: int) -> Iterator[None]:
    """While the block runs a Spark action, a line every few seconds: done, rate and time left.

    items: what the action works on in all, spread evenly over its `tasks` tasks.
    """
    done = threading.Event()
    tracker = spark.sparkContext.statusTracker()
    start = time.monotonic()

    def report() -> None:
        while not done.wait(PROGRESS_EVERY_S):
            stages = [info for stage in tracker.getActiveStageIds() if (info := tracker.getStageInfo(stage))]
            share = sum(info.numCompletedTasks for info in stages) / max(1, tasks)
            elapsed = time.monotonic() - start
            left = f"{elapsed / share - elapsed:.0f} s left" if share else "no task finished yet"
            print(f"  {what}: {share * items:.0f} of {items}, {share * items / elapsed:.0f}/s, {left}", flush=True)

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
