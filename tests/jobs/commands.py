"""The commands that users type, run as they type them, in the repository's root."""

import os
import runpy
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tests.conftest import REPOSITORY
from tests.pipelines.preprocess.sources.builders import write_idx

TIMEOUT_S = 240


def environment() -> dict[str, str]:
    """As after `. .venv/bin/activate`."""
    binaries = Path(sys.executable).parent
    return os.environ | {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "SPARK_LOCAL_IP": "127.0.0.1"}


def start(*command: object, folder: Path = REPOSITORY) -> subprocess.Popen[str]:
    """The command in the background, its output on one pipe."""
    words = [str(word) for word in command]
    return subprocess.Popen(
        words, cwd=folder, env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def call(*command: object, status: int = 0, folder: Path = REPOSITORY) -> str:
    """All that the command prints; an AssertionError with it if it ends with another status."""
    process = start(*command, folder=folder)
    try:
        printed, _ = process.communicate(timeout=TIMEOUT_S)
    finally:
        process.kill()
    assert process.returncode == status, f"{' '.join(map(str, command))}: status {process.returncode}\n{printed}"
    return printed


def call_in_process(
    job: str, words: Sequence[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[str, object]:
    """A job of one process, in this one: what it printed on either stream, and its status."""
    monkeypatch.setattr("sys.argv", [job, *words])
    status: object = 0
    try:
        runpy.run_path(job, run_name="__main__")
    except SystemExit as ending:
        status = ending.code
    printed = capsys.readouterr()
    return printed.out + printed.err, status


@dataclass(frozen=True)
class Place:
    """A folder that stands for `work/`: datasets, runs and the MLflow store of one test."""

    folder: Path

    @property
    def dataset(self) -> Path:
        return self.folder / "datasets" / "some-digits"

    @property
    def tracking(self) -> list[str]:
        return [f"tracking.uri=sqlite:///{self.folder}/mlflow.db", f"tracking.artifacts={self.folder}/artifacts"]

    def preprocess(self) -> str:
        """600 of scikit-learn's digits, from IDX files."""
        digits, raw = load_digits(), self.folder / "raw"
        raw.mkdir()
        pixels = np.rint(digits.images[:600] * (255 / 16)).astype(np.uint8)
        write_idx(raw, images=pixels, labels=digits.target[:600].astype(np.uint8), suffix=".gz")
        return call(
            "spark-submit", "jobs/preprocess.py", "conf/preprocess/mnist.yaml", f"source.path={raw}",
            f"output.path={self.dataset}", "output.rows_per_group=32", "image.resize=square", "image.size=32",
        )  # fmt: skip

    def train_command(self, workers: int, *overrides: str) -> list[str]:
        launcher = ["horovodrun", "-np", str(workers)] if workers > 1 else []
        return [
            *launcher, "python", "jobs/train.py", "conf/train/lenet5_digits.yaml", f"dataset={self.dataset}",
            f"runs_dir={self.folder}/runs", *self.tracking, *overrides,
        ]  # fmt: skip

    def train(self, workers: int, *overrides: str) -> str:
        return call(*self.train_command(workers, *overrides))

    def checkpoints(self, runs: str = "runs") -> list[Path]:
        """Newest last."""
        return sorted((self.folder / runs).glob("*/checkpoints/epoch-*.pt"))
