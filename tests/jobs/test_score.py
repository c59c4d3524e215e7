"""Batch scoring as users run it: of trained networks and their ensemble, beside what evaluation predicted; killed."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from pipelines.images.codec import encode
from tests.conftest import REPOSITORY
from tests.jobs.commands import Place, call, environment

pytestmark = pytest.mark.processes

MEMBER = "lenet5_modern-some-digits-seed1"
ROUNDED = 2**-10
"""Relative: predictions are stored with eleven significant bits. What networks find impossible is not compared."""
IMAGES = 400


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two trained networks, evaluated, and their ensemble."""
    place = Place(tmp_path_factory.mktemp("score"))
    place.preprocess()
    place.train(1, "epochs=2", "seeds=[1,2]")
    predictions = [f"predictions={place.folder}/predictions", f"output={place.folder}/evaluation"]
    call(
        "python", "jobs/evaluate.py", "conf/evaluate/digits.yaml", f"dataset={place.dataset}", *predictions,
        *place.tracking,
    )  # fmt: skip
    call("spark-submit", "jobs/ensemble.py", "conf/ensemble/digits.yaml", "name=pair", *predictions, *place.tracking)
    return place


def command(place, output, *overrides):
    return [
        "spark-submit", "--master", "local[2]", "jobs/score.py", "conf/score/digits.yaml", f"output.path={output}",
        "tracking.experiment=digits", *place.tracking, *overrides,
    ]  # fmt: skip


def predicted(place, run):
    """Key to the probabilities that the run's predictions hold."""
    client = MlflowClient(f"sqlite:///{place.folder}/mlflow.db")
    experiment = client.get_experiment_by_name("digits").experiment_id
    (found,) = client.search_runs([experiment], f"attributes.run_name = '{run}'")
    rows = pq.read_table(place.folder / "predictions" / found.info.run_id).to_pylist()
    return {row["key"]: np.array(row["probabilities"]) for row in rows}


def assert_the_same(scores: Path, expected) -> None:
    rows = {row["key"]: row for row in pq.read_table(scores).to_pylist()}
    assert expected.keys() <= rows.keys()
    for key, probabilities in expected.items():
        for one in rows[key]["top"]:
            assert one["probability"] == pytest.approx(probabilities[one["label"]], rel=ROUNDED, abs=1e-6)
        assert rows[key]["probability"] == pytest.approx(probabilities.max(), rel=ROUNDED)


@pytest.mark.parametrize(("model", "run"), [("models:/pair@champion", "pair"), (MEMBER, MEMBER)])
def test_raw_images_get_the_answers_of_evaluation(place, model, run):
    output = place.folder / f"scores of {run}"
    raw = ["source.kind=idx", f"source.path={place.folder}/raw"]
    printed = call(*command(place, output, f"model={model}", *raw))
    expected = predicted(place, run)
    assert len(expected) == 120
    assert_the_same(output / "scores", expected)
    for line in ("scored +600 images of ", "rejected +none", r"images/s +[\d,]+", f"scores +{output}/scores"):
        assert re.search(f"^{line}", printed, re.MULTILINE)
    following = printed.strip().splitlines()[-1]
    shown = subprocess.run(
        following.removeprefix("next: "), shell=True, check=True, text=True, capture_output=True, env=environment()
    )
    assert "[600 rows x 5 columns]" in shown.stdout


def test_a_split_of_a_dataset_gets_the_answers_of_evaluation(place):
    output = place.folder / "scores of the split"
    printed = call(
        *command(place, output, "model=models:/pair/1", "source.kind=dataset", f"source.path={place.dataset}")
    )
    assert "scored     120 images of the val split of the dataset" in printed
    assert_the_same(output / "scores", predicted(place, "pair"))


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    """Noise, which takes long to decode, and three files that are no images."""
    folder = Path(tmp_path_factory.mktemp("new images"))
    rng = np.random.default_rng(0)
    for number in range(IMAGES):
        image = encode(rng.integers(0, 256, (200, 250, 3), np.uint8), "png", 90)
        (folder / f"{number:04d}.png").write_bytes(b"spoilt" if number % 150 == 7 else image)
    return folder


def test_a_job_that_is_killed_leaves_nothing_in_sight_and_the_same_command_finishes(place, raw, tmp_path):
    output = tmp_path / "out"
    again = command(
        place, output, "model=models:/pair@champion", f"source={{path: {raw}}}", "output.images_per_file=20",
        "output.files_per_wave=2",
    )  # fmt: skip
    process = subprocess.Popen(
        again, cwd=REPOSITORY, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".out-*/journal/wave-00001.jsonl")) and time.monotonic() < deadline:
        assert process.poll() is None, "the job ended before it could be killed"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not output.exists()
    printed = call(*again)
    assert re.search(r"\d+ of 20 files are written already; going on after them", printed)
    assert "scored     397 images" in printed
    assert "rejected   3 not_an_image" in printed
    assert pq.read_table(output / "scores").column("key").to_pylist() == [
        path.name for path in sorted(raw.iterdir()) if path.read_bytes() != b"spoilt"
    ]
    assert pq.read_table(output / "rejects").column("key").to_pylist() == ["0007.png", "0157.png", "0307.png"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert f"{output} holds these very scores already" in call(*again)


def test_what_is_wrong_is_said_in_one_line(place, tmp_path):
    for overrides, message in (
        (["model=models:/pair@best"], "no such model in sqlite:.*; there are models:/pair@champion"),
        (["model=models:/pair/1", f"source={{path: {tmp_path}}}"], "no image files or tars of them in it or below it"),
        (["model=models:/pair/1", "source={}"], "source.path is missing: the folder, tar or dataset"),
    ):
        printed = call(*command(place, tmp_path / "out", *overrides), status=2)
        assert re.search(f"^error: .*{message}", printed, re.MULTILINE)
        assert "Traceback" not in printed
    assert not list(tmp_path.iterdir())
