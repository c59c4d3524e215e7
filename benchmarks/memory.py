"""What preprocessing takes of memory: Spark's Python workers as a dataset grows, the driver as a listing does."""

import os
import sys
import tarfile
import tempfile
import threading
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.job import replicate, run_job, settings_for, start_session
from pipelines.config import SourceSettings
from pipelines.preprocess.shuffle import assign
from pipelines.preprocess.sources.ilsvrc import TRAIN_TAR, VAL_TAR, list_ilsvrc
from pipelines.preprocess.sources.tar import BLOCK_BYTES
from pipelines.preprocess.waves import cut
from pipelines.preprocess.write import pack
from tests.pipelines.preprocess.sources.builders import Synset, tar_of, write_devkit

_EVERY_S = 0.05
_CLASSES = 1000
_MEMBER_BYTES = 110_000
"""ImageNet's mean."""


class Cost(NamedTuple):
    seconds: float
    driver_bytes: int
    """Largest RSS of the driver's Python."""
    worker_bytes: int = 0
    """Largest RSS of one of Spark's Python workers."""
    jvm_bytes: int = 0
    """Largest RSS of Spark's JVM."""


class PeakRss:
    """The largest RSS, while the block runs, of this process, of any of Spark's Python workers below it and its JVM."""

    def __enter__(self) -> "PeakRss":
        self.driver_bytes = self.worker_bytes = self.jvm_bytes = 0
        self._start, self.seconds = time.perf_counter(), 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.seconds = time.perf_counter() - self._start
        self._ended.set()
        self._thread.join()

    def cost(self) -> Cost:
        return Cost(self.seconds, self.driver_bytes, self.worker_bytes, self.jvm_bytes)

    def _sample(self) -> None:
        this = psutil.Process()
        while True:
            self.driver_bytes = max(self.driver_bytes, this.memory_info().rss)
            for process in this.children(recursive=True):
                self._look_at(process)
            if self._ended.wait(_EVERY_S):
                return

    def _look_at(self, process: psutil.Process) -> None:
        try:
            words, rss = process.cmdline(), process.memory_info().rss
        except psutil.Error:  # it has ended meanwhile
            return
        if any(word.startswith(("pyspark.daemon", "pyspark.worker")) for word in words):
            self.worker_bytes = max(self.worker_bytes, rss)
        elif "org.apache.spark.deploy.SparkSubmit" in words:
            self.jvm_bytes = max(self.jvm_bytes, rss)


def job_cost(images: Path, count: int, cores: int) -> Cost:
    """Of the real job with the row groups and files that users get."""
    with tempfile.TemporaryDirectory(prefix="strata-benchmark-") as folder, redirect_stdout(sys.stderr):
        tempfile.tempdir = folder  # a spawned process ends without removing what the session leaves
        source, output = Path(folder, "source"), Path(folder, "output")
        replicate(images, count, source)
        with PeakRss() as peak:
            spark = start_session(cores)
            run_job(spark, settings_for(source, output))
        spark.stop()
    return peak.cost()


def listing_cost(count: int) -> Cost:
    """Of a training tar's headers to packed, shuffled tasks."""
    with tempfile.TemporaryDirectory(prefix="strata-benchmark-") as folder, redirect_stdout(sys.stderr):
        _write_ilsvrc(Path(folder), count)
        settings = settings_for(Path(folder), Path(folder))
        with PeakRss() as peak:
            listing = list_ilsvrc(SourceSettings(kind="ilsvrc", path=folder))
            train = assign(listing, settings)["train"]
            for task in cut("train/part", train, (0,), settings.output.rows_per_file):
                pack(task.items)
    return peak.cost()


def _write_ilsvrc(folder: Path, count: int) -> None:
    """ILSVRC2012's three files, the training tar with `count` members in all, of holes where images would be."""
    per_class = -(-count // _CLASSES)
    synsets = [Synset(f"n{number:08d}", number, f"class {number}") for number in range(1, _CLASSES + 1)]
    write_devkit(folder, synsets, [1])
    (folder / VAL_TAR).write_bytes(tar_of({"ILSVRC2012_val_00000001.JPEG": b"an image"}))
    step = BLOCK_BYTES + -(-_MEMBER_BYTES // BLOCK_BYTES) * BLOCK_BYTES
    inner_bytes = per_class * step + 2 * BLOCK_BYTES
    with (folder / TRAIN_TAR).open("wb") as tar:
        for synset in synsets:
            tar.write(_header(f"{synset.wnid}.tar", inner_bytes))
            for number in range(per_class):
                tar.write(_header(f"{synset.wnid}_{number}.JPEG", _MEMBER_BYTES))
                tar.seek(step - BLOCK_BYTES, os.SEEK_CUR)
            tar.seek(2 * BLOCK_BYTES, os.SEEK_CUR)
        tar.write(bytes(2 * BLOCK_BYTES))


def _header(name: str, size_bytes: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size = size_bytes
    return member.tobuf(tarfile.GNU_FORMAT)
