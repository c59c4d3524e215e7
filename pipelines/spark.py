"""The Spark session of the jobs: our own code shipped to the executors, progress in plain lines."""

import atexit
import shutil
import tempfile
import threading
import time
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from pyspark import SparkConf, SparkContext
from pyspark.sql import SparkSession

PROGRESS_EVERY_S = 5.0

ALONE = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1", "spark.ui.enabled": "false"}
"""Without a cluster. By itself Spark listens on the host's own address, and its pages, which ask nobody for a password,
on all of them, whichever it is told."""


def spark_session(name: str) -> SparkSession:
    """The session that spark-submit configured (local[*] without a master), able to import `pipelines` on executors."""
    SparkContext._ensure_initialized()  # else SparkConf does not see what spark-submit was told
    asked = SparkConf()
    builder = SparkSession.builder.appName(name)
    if asked.get("spark.master", "local").startswith("local"):
        for key, value in ALONE.items():
            builder = builder.config(key, asked.get(key, value))
    builder = builder.config("spark.ui.showConsoleProgress", "false")  # progress_lines tells more
    builder = builder.config("spark.executorEnv.PYTHONWARNINGS", "ignore::FutureWarning")  # see pipelines/dataset
    spark = builder.getOrCreate()
    spark.sparkContext.addPyFile(str(_packed_code()))
    return spark


@cache
def _packed_code() -> Path:
    folder = tempfile.mkdtemp(prefix="strata-code-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # executors fetch it for as long as the session lives
    packages = Path(__file__).resolve().parent
    archive = Path(folder, "strata.zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for source in sorted(packages.rglob("*.py")):
            zipped.write(source, source.relative_to(packages.parent))
    return archive


class Progress:
    """How far a job of many Spark actions is, for a line every few seconds."""

    def __init__(self, spark: SparkSession, what: str, items: int) -> None:
        self._context, self._tracker = spark.sparkContext, spark.sparkContext.statusTracker()
        self._what, self._items = what, items
        self._start = time.monotonic()
        self._finished = 0
        self._tasks, self._in_wave, self._group = 0, 0, ""

    @contextmanager
    def wave(self, tasks: int, items: int) -> Iterator[None]:
        """What this thread asks of Spark meanwhile: `tasks` tasks, in all stages, that work on `items` items.

        They count when it ends well.
        """
        self._tasks, self._in_wave, self._group = tasks, items, uuid.uuid4().hex
        self._context.setLocalProperty("spark.jobGroup.id", self._group)
        yield
        self._finished = min(self._items, self._finished + items)
        self._in_wave = 0

    def line(self) -> str:
        """Done, rate and time left."""
        jobs = map(self._tracker.getJobInfo, self._tracker.getJobIdsForGroup(self._group))
        ids = {stage for job in jobs if job for stage in job.stageIds}
        stages = [info for stage in ids if (info := self._tracker.getStageInfo(stage))]
        share = min(1, sum(info.numCompletedTasks for info in stages) / max(1, self._tasks))
        done = min(self._items, self._finished + share * self._in_wave)
        elapsed = time.monotonic() - self._start
        left = f"{(self._items - done) * elapsed / done:.0f} s left" if done else "no task finished yet"
        return f"  {self._what}: {done:.0f} of {self._items}, {done / elapsed:.0f}/s, {left}"


@contextmanager
def progress_lines(spark: SparkSession, what: str, items: int) -> Iterator[Progress]:
    """While the block runs Spark actions on `items` items, a line every few seconds."""
    ended = threading.Event()
    progress = Progress(spark, what, items)

    def report() -> None:
        while not ended.wait(PROGRESS_EVERY_S):
            print(progress.line(), flush=True)

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield progress
    finally:
        ended.set()
        thread.join()
