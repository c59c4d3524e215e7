"""Every benchmark at its smallest size, so that it keeps working; nothing of what it measures is looked at."""

import re

import pytest

from benchmarks.everything import ALL
from tests.conftest import REPOSITORY
from tests.jobs.commands import call

HELD_BY_OTHERS = {"gpu"}
"""tests/benchmarks/test_gpu.py runs it."""
SHORT = [name for name, benchmark in ALL.items() if benchmark.short is not None and name not in HELD_BY_OTHERS]


@pytest.mark.processes
@pytest.mark.parametrize("name", SHORT)
def test_it_runs(tmp_path, name):
    printed = call("python", "-m", "benchmarks.everything", "--short", "--only", name, "--work", tmp_path)
    assert re.search(rf"^\| {name} \| `python -m benchmarks\.\w+.*` \| \d+ \| done \|$", printed, re.MULTILINE)
    report = (tmp_path / "bench-short.md").read_text()
    assert report.count(f"## {name}\n") == 1


def test_one_that_fails_is_named_with_status_1(tmp_path):
    (tmp_path / "empty").mkdir()
    printed = call(
        "python", "-m", "benchmarks.everything", tmp_path / "empty", "--short", "--only", "preprocess,scaling",
        "--work", tmp_path / "work", status=1,
    )  # fmt: skip
    assert "failed: preprocess" in printed
    assert "| scaling |" in printed


def test_every_benchmark_is_among_them():
    runnable = {
        path.stem
        for path in (REPOSITORY / "benchmarks").glob("*.py")
        if '__name__ == "__main__"' in path.read_text() and "python -m benchmarks" in path.read_text()[:800]
    }
    helpers = {"everything", "loading_peers", "loading_setup", "models_step", "pictures", "steps"}
    assert {benchmark.module for benchmark in ALL.values()} == runnable - helpers
