"""The preprocessing job as users run it, interrupted in every way that machines know."""

import os
import random
import resource
import signal
import subprocess
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from pipelines.dataset.manifest import FILE_NAME, Manifest, find_damage, read_manifest
from pipelines.images.codec import encode
from tests.conftest import REPOSITORY
from tests.jobs.commands import call, environment

pytestmark = pytest.mark.processes

KILLS = 3
IMAGES = 480


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    """Images of noise, which is slow to encode and does not get smaller."""
    folder = Path(tmp_path_factory.mktemp("raw images"))
    rng = np.random.default_rng(0)
    for number in range(IMAGES):
        path = folder / f"class{number % 4}" / f"{number:04d}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode(rng.integers(0, 256, (40, 40 + number % 9, 3), np.uint8), "png", 90))
    return folder


def command(raw: Path, output: Path, *overrides: str, cores: int = 2) -> list[str]:
    return [
        "spark-submit", "--master", f"local[{cores}]", "jobs/preprocess.py", "conf/preprocess/imagenet.yaml",
        f"source.path={raw}", f"output.path={output}", "image.size=160", "image.format=png",
        "output.rows_per_group=8", "output.rows_per_file=16", "output.files_per_wave=4", *overrides,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(raw, tmp_path_factory) -> Manifest:
    output = tmp_path_factory.mktemp("undisturbed") / "dataset"
    printed = call(*command(raw, output))
    assert "detected imagefolder" in printed
    assert "no rejects" in printed
    assert f"next: horovodrun -np 2 python jobs/train.py CONF.yaml dataset={output}" in printed
    return read_manifest(output)


def committed(output: Path) -> int:
    return len(list(output.glob("v-*/journal/wave-*.jsonl")))


def start_and_wait_for_waves(raw: Path, output: Path, waves: int) -> subprocess.Popen[bytes]:
    """The job in a process group of its own, once so many waves are committed in all."""
    process = subprocess.Popen(
        command(raw, output), cwd=REPOSITORY, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while committed(output) < waves and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.poll() is None, "the job ended before it could be interrupted"
    return process


def test_kill_9_at_any_moment_and_the_same_command_give_the_undisturbed_dataset(raw, undisturbed, tmp_path):
    output = tmp_path / "dataset"
    rng = random.Random(7)
    for _ in range(KILLS):
        before = committed(output)
        process = start_and_wait_for_waves(raw, output, before + rng.randint(1, 2))
        time.sleep(rng.uniform(0, 0.3))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not (output / FILE_NAME).exists()
        assert committed(output) > before
    printed = call(*command(raw, output, cores=8))
    assert "files are written already; going on after them" in printed
    manifest = read_manifest(output)
    assert manifest.digest == undisturbed.digest
    assert find_damage(manifest, output) == {}
    assert not list(output.glob("v-*/*/.*.tmp"))


def test_a_reader_sees_the_old_dataset_until_the_new_one_is_whole(raw, undisturbed, tmp_path):
    output = tmp_path / "dataset"
    call(*command(raw, output, "seed=1"))
    old = read_manifest(output)
    process = start_and_wait_for_waves(raw, output, committed(output) + 2)
    assert read_manifest(output) == old
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert read_manifest(output) == old
    assert find_damage(old, output) == {}
    call(*command(raw, output, "--prune"))
    assert read_manifest(output).digest == undisturbed.digest
    assert len(list(output.glob("v-*"))) == 1


def test_no_room_left_is_a_clear_error_and_a_rerun_finishes(raw, undisturbed, tmp_path):
    output = tmp_path / "dataset"
    # The kernel refuses to let a file grow beyond this, as it refuses on a full disk.
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
    process = subprocess.run(
        command(raw, output), cwd=REPOSITORY, env=environment(), text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, preexec_fn=limit,
    )  # fmt: skip
    assert process.returncode == 2, process.stdout
    last = process.stdout.strip().splitlines()[-1]
    assert last.startswith(f"error: no room left to write {output}/v-"), last
    assert "Make room, then give the same command: it goes on after what is written" in last
    assert "Traceback" not in process.stdout
    assert not (output / FILE_NAME).exists()
    call(*command(raw, output, cores=1))
    assert read_manifest(output).digest == undisturbed.digest


def test_a_run_of_mlflow_keeps_the_report(raw, tmp_path):
    output = tmp_path / "dataset"
    tracking = [f"tracking.uri=sqlite:///{tmp_path}/mlflow.db", f"tracking.artifacts={tmp_path}/artifacts"]
    printed = call(*command(raw, output, "image.size=32", "tracking.experiment=data", *tracking))
    manifest = read_manifest(output)
    assert manifest.run_id is not None
    assert f"run      {manifest.run_id}" in printed
    names = {path.name for path in (tmp_path / "artifacts").rglob("report/*")}
    assert names == {"samples.png", "histograms.png", "summary.txt"}
