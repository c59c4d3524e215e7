"""The demo's stages, end to end on a small dataset, by the commands that users type."""

import re
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from pipelines.dataset.lookup import stored_images
from pipelines.dataset.manifest import read_manifest
from tests.jobs.commands import Place, call

pytestmark = pytest.mark.processes
SEEDS = (1, 2)
SEED1 = "lenet5_modern-some-digits-seed1"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return Place(tmp_path_factory.mktemp("stages"))


def visualize(place, run, *overrides, status=0):
    return call(
        "python", "jobs/visualize.py", "conf/visualize/digits.yaml", f"run={run}", f"dataset={place.dataset}",
        f"output={place.folder}/pictures", *place.tracking, *overrides, status=status,
    )  # fmt: skip


@pytest.fixture(scope="module")
def printed(place):
    """What each stage printed."""
    predictions = [f"predictions={place.folder}/predictions", f"output={place.folder}/evaluation"]
    return {
        "preprocess": place.preprocess(),
        "train": [place.train(2, "epochs=12", f"seed={seed}") for seed in SEEDS],
        "train again": place.train(2, "epochs=12", "seed=1"),
        "evaluate": call(
            "horovodrun", "-np", "2", "python", "jobs/evaluate.py", "conf/evaluate/digits.yaml",
            f"dataset={place.dataset}", *predictions, *place.tracking,
        ),
        "ensemble": call(
            "spark-submit", "jobs/ensemble.py", "conf/ensemble/digits.yaml", "name=pair", *predictions, *place.tracking
        ),
        "visualize": visualize(place, SEED1),
        "report": call("python", "jobs/report.py", "digits", f"output={place.folder}/report", place.tracking[0]),
    }  # fmt: skip


@pytest.fixture(scope="module")
def runs(place, printed):
    client = MlflowClient(f"sqlite:///{place.folder}/mlflow.db")
    experiment = client.get_experiment_by_name("digits")
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


def members(runs):
    return [runs[f"lenet5_modern-some-digits-seed{seed}"] for seed in SEEDS]


def test_preprocess_says_what_it_made_and_what_comes_next(place, printed):
    manifest = read_manifest(place.dataset)
    for name, split in manifest.splits.items():
        assert re.search(rf"^{name} +{split.rows:,} ", printed["preprocess"], re.MULTILINE)
    assert manifest.splits["train"].rows + manifest.splits["val"].rows == 600
    assert f"next: horovodrun -np 2 python jobs/train.py CONF.yaml dataset={place.dataset}" in printed["preprocess"]


def test_preprocess_keeps_sparks_and_petastorms_chatter_to_itself(printed):
    assert "FutureWarning" not in printed["preprocess"]


def test_training_shows_every_epoch_once_and_what_comes_next(printed):
    for output in printed["train"]:
        assert [int(epoch) for epoch in re.findall(r"epoch (\d+)/12", output)] == list(range(1, 13))
        assert "next: python jobs/evaluate.py" in output


def test_training_that_is_finished_is_not_repeated(printed):
    assert "trained before; fresh=true trains it anew" in printed["train again"]
    assert "epoch 1/12" not in printed["train again"]


def test_each_training_is_one_run_for_all_its_workers(runs):
    assert set(runs) == {*(run.info.run_name for run in members(runs)), "pair"}
    assert all(run.info.status == "FINISHED" for run in runs.values())


def test_runs_hold_settings_dataset_curves_and_model(place, runs):
    client = MlflowClient(f"sqlite:///{place.folder}/mlflow.db")
    for run in members(runs):
        assert run.data.params["workers"] == "2"
        assert run.data.params["optimizer.lr"] == "0.05"
        assert (run.data.tags["strata.layers"], run.data.tags["strata.parameters"]) == ("5", "61706")
        assert run.data.tags["strata.dataset_digest"] == read_manifest(place.dataset).digest
        assert run.inputs.dataset_inputs
        assert {file.path for file in client.list_artifacts(run.info.run_id)} >= {
            "settings.yaml",
            "summary.txt",
            "learning_curves.png",
            "samples.png",
            "filters.png",
        }
        assert [m.step for m in client.get_metric_history(run.info.run_id, "val_top1_error")] == list(range(1, 13))
        assert run.outputs.model_outputs


def test_every_validation_image_is_predicted_once(place, runs):
    manifest = read_manifest(place.dataset)
    for run in runs.values():
        table = pq.read_table(place.folder / "predictions" / run.info.run_id)
        assert table.num_rows == len(set(table["key"].to_pylist())) == manifest.splits["val"].rows


def test_evaluation_agrees_with_the_last_validation_of_the_training(runs):
    for run in members(runs):
        assert run.data.metrics["eval_top1_error"] == run.data.metrics["val_top1_error"]
        assert run.data.metrics["eval_loss"] == pytest.approx(run.data.metrics["val_loss"], rel=1e-5)


def test_the_networks_have_learned_something(runs):
    assert all(run.data.metrics["eval_top1_error"] < 0.3 for run in members(runs))


def test_the_ensemble_is_the_parent_of_its_members(runs):
    for run in members(runs):
        assert run.data.tags["mlflow.parentRunId"] == runs["pair"].info.run_id
        assert run.info.run_id in runs["pair"].data.params["members"]


def test_the_table_shows_members_and_ensemble(place, printed, runs):
    for run in runs.values():
        top1, low, high, top5 = (
            run.data.metrics[f"eval_{name}"]
            for name in ("top1_error", "top1_error_low", "top1_error_high", "top5_error")
        )
        line = rf"{run.info.run_name} +{top1:.2%} +{low:.2%} to {high:.2%} +{top5:.2%}"
        assert re.search(line, printed["ensemble"])
    assert str(place.dataset) in printed["ensemble"]
    assert "next: python jobs/report.py digits, or make dashboard" in printed["ensemble"]


@pytest.mark.parametrize("name", [SEED1, "pair"])
def test_tables_and_pictures_of_an_evaluation_are_among_the_artifacts(place, runs, name):
    client = MlflowClient(f"sqlite:///{place.folder}/mlflow.db")
    logged = {
        file.path.split("/")[-1] for file in client.list_artifacts(runs[name].info.run_id, "evaluation/as_trained")
    }
    assert logged == {path.name for path in (place.folder / "evaluation" / name / "as_trained").iterdir()}
    assert logged >= {"classes.csv", "mistakes.csv", "confusion.png", "reliability.png", "mistakes.png"}
    assert ({"curve.png", "agreement.png"} <= logged) == (name == "pair")


def test_the_curve_is_a_metric_over_the_number_of_members(place, runs):
    client = MlflowClient(f"sqlite:///{place.folder}/mlflow.db")
    curve = client.get_metric_history(runs["pair"].info.run_id, "curve_top1_error")
    assert [point.step for point in curve] == [1, 2]
    assert curve[1].value == runs["pair"].data.metrics["eval_top1_error"]


def test_the_page_shows_the_study_as_its_runs_have_it(place, printed, runs):
    page = (place.folder / "report" / "digits" / "index.html").read_text()
    manifest = read_manifest(place.dataset)
    assert f"{manifest.splits['train'].rows:,} training images of 10 classes" in page
    for run in runs.values():
        assert f">{run.info.run_name}</th>" in page
        assert f">{run.data.metrics['eval_top1_error']:.2%}</td>" in page
    assert page.count("<img ") == 6  # agreement, mistakes, confusion, calibration, samples, filters
    assert 'class="missing"' not in page
    assert f"next: open {place.folder}/report/digits/index.html in a browser" in printed["report"]


LOAD = """
import sys, mlflow, numpy as np
uri, images, answers = sys.argv[1:]
mlflow.set_tracking_uri(uri)
np.save(answers, mlflow.pyfunc.load_model("models:/pair@champion").predict(np.load(images)))
"""


def test_the_registered_model_answers_with_the_stored_average(place, runs):
    """In a fresh process that has none of our code."""
    stored = pq.read_table(place.folder / "predictions" / runs["pair"].info.run_id).to_pylist()[:50]
    keys = [row["key"] for row in stored]
    images = stored_images(place.dataset, read_manifest(place.dataset), "val", set(keys))
    np.save(place.folder / "images.npy", np.stack([images[key] for key in keys]))
    subprocess.run(
        [
            sys.executable, "-c", LOAD, f"sqlite:///{place.folder}/mlflow.db",
            place.folder / "images.npy", place.folder / "answers.npy",
        ],
        check=True, cwd=place.folder,
    )  # fmt: skip
    np.testing.assert_allclose(
        np.load(place.folder / "answers.npy"), [row["probabilities"] for row in stored], rtol=2**-10, atol=1e-6
    )


def test_evaluating_on_another_dataset_is_refused(place, printed, digits):
    printed_error = call(
        "python", "jobs/evaluate.py", "conf/evaluate/digits.yaml", f"dataset={digits.root}", *place.tracking, status=2
    )
    assert "seed1 was trained on another dataset" in printed_error
    assert "Traceback" not in printed_error


def test_pictures_lie_in_the_runs_folder_and_among_its_artifacts(place, printed, runs):
    names = {
        *(f"feature_maps-image{number}.png" for number in range(3)),
        *("filters.png", "saliency.png", "occlusion.png", "strongest-c1_relu.png", "strongest-c3_relu.png"),
    }
    assert {path.name for path in (place.folder / "pictures" / SEED1).iterdir()} == names
    client = MlflowClient(f"sqlite:///{place.folder}/mlflow.db")
    logged = client.list_artifacts(runs[SEED1].info.run_id, "pictures")
    assert {file.path for file in logged} == {f"pictures/{name}" for name in names}
    assert f"logged to run {SEED1} ({runs[SEED1].info.run_id})" in printed["visualize"]


def test_a_checkpoint_without_a_run_gives_pictures_too(place, printed):
    store = f"tracking.uri=sqlite:///{place.folder}/none.db"
    output = visualize(
        place, place.checkpoints()[0], store, "images=[5]", "layers=[s2]", "maps=[1]", "search_images=20"
    )
    assert "the pictures will not be logged: tracking.uri" in output
    assert "strongest-s2.png" in output


def test_a_checkpoint_of_a_run_is_logged_to_it(place, printed):
    run = next(place.folder.glob("runs/*seed1-*"))
    (newest, *_) = sorted(run.glob("checkpoints/epoch-*.pt"), reverse=True)
    assert f"logged to run {SEED1}" in visualize(place, newest, "images=[0]", "maps=[0]", "search_images=9")


@pytest.mark.parametrize(
    ("run", "overrides", "message"),
    [
        ("lenet9", [], f"no finished training lenet9; there are {SEED1}, lenet5_modern-some-digits-seed2"),
        ("nowhere/epoch-0001.pt", [], "nowhere/epoch-0001.pt: no checkpoint to read: No such file"),
        (SEED1, ["layers=[conv1]"], "layers: the network has no layer 'conv1'; there are c1 (6 maps of 28 x 28), c1_"),
        (SEED1, ["layers=[c1]", "maps=[6]"], "layer c1 has no feature map 6; it has 6, numbered 0 to 5"),
        (SEED1, ["images=[7,a-key]"], "images: no validation image 'a-key'; give keys, or places from 0 to "),
        (SEED1, ["occluder_size=33"], "occluder_size = 33: the images' shorter side is 32 pixels"),
    ],
)
def test_what_cannot_be_shown_is_said_in_one_line(place, printed, run, overrides, message):
    output = visualize(place, run, f"output={place.folder}/no pictures", *overrides, status=2)
    assert message in output
    assert "Traceback" not in output
    assert not (place.folder / "no pictures").exists()


@pytest.mark.parametrize("job", ["preprocess", "train", "evaluate", "ensemble", "visualize", "score"])
def test_help_explains_the_job(job):
    launcher = "spark-submit" if job in ("preprocess", "ensemble", "score") else "python"
    assert "usage: " in call(launcher, f"jobs/{job}.py", "--help")
