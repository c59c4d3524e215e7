"""The demo's stages, end to end on a small dataset, by the commands that users type."""

import re

import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from pipelines.dataset.manifest import read_manifest
from tests.jobs.commands import Place, call

pytestmark = pytest.mark.processes
SEEDS = (1, 2)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return Place(tmp_path_factory.mktemp("stages"))


@pytest.fixture(scope="module")
def printed(place):
    """What each stage printed."""
    predictions = f"predictions={place.folder}/predictions"
    return {
        "preprocess": place.preprocess(),
        "train": [place.train(2, "epochs=12", f"seed={seed}") for seed in SEEDS],
        "train again": place.train(2, "epochs=12", "seed=1"),
        "evaluate": call(
            "horovodrun", "-np", "2", "python", "jobs/evaluate.py", "conf/evaluate/digits.yaml",
            f"dataset={place.dataset}", predictions, *place.tracking,
        ),
        "ensemble": call(
            "spark-submit", "jobs/ensemble.py", "conf/ensemble/digits.yaml", "name=pair", predictions, *place.tracking
        ),
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
        assert run.data.tags["strata.dataset_digest"] == read_manifest(place.dataset).digest
        assert run.inputs.dataset_inputs
        assert {file.path for file in client.list_artifacts(run.info.run_id)} >= {
            "settings.yaml",
            "summary.txt",
            "learning_curves.png",
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
        top1, top5 = run.data.metrics["eval_top1_error"], run.data.metrics["eval_top5_error"]
        assert re.search(rf"{run.info.run_name} +{top1:.2%} +{top5:.2%}", printed["ensemble"])
    assert str(place.dataset) in printed["ensemble"]
    assert "next: make dashboard" in printed["ensemble"]


def test_evaluating_on_another_dataset_is_refused(place, printed, digits):
    printed_error = call(
        "python", "jobs/evaluate.py", "conf/evaluate/digits.yaml", f"dataset={digits.root}", *place.tracking, status=2
    )
    assert "seed1 was trained on another dataset" in printed_error
    assert "Traceback" not in printed_error


@pytest.mark.parametrize("job", ["preprocess", "train", "evaluate", "ensemble"])
def test_help_explains_the_job(job):
    launcher = "spark-submit" if job in ("preprocess", "ensemble") else "python"
    assert "usage: " in call(launcher, f"jobs/{job}.py", "--help")
