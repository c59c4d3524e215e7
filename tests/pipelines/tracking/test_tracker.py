import json
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient

import models
from models.classifier import Classifier
from pipelines.config import ImageSettings, InputError, Pad, TrackingSettings
from pipelines.dataset.logged_model import ModelMetadata
from pipelines.tracking.figures import learning_curves
from pipelines.tracking.runs import group_of, refuse_outside, trained_runs
from pipelines.tracking.store import connect
from pipelines.tracking.tags import CHECKPOINT_TAG, KIND_TAG, PARENT_TAG
from pipelines.tracking.tracker import MlflowTracker


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """A store of its own; making its tables takes seconds, so the module shares it."""
    folder = tmp_path_factory.mktemp("tracking")
    return TrackingSettings(
        uri=f"sqlite:///{folder}/new folder/mlflow.db", artifacts=folder / "artifacts", experiment="trials"
    )


@pytest.fixture
def client(settings):
    return MlflowClient(settings.uri)


def finished(settings, name, **tags):
    tracker = MlflowTracker.begin(settings, name)
    tracker.log_parameters({"dataset": "folder"})
    tracker.log_tags({KIND_TAG: "training", CHECKPOINT_TAG: "c.pt", "strata.dataset_digest": "d"} | tags)
    tracker.finish()
    return tracker


def test_metrics_parameters_tags_and_files_reach_the_run(settings, client):
    tracker = MlflowTracker.begin(settings, "everything")
    tracker.log_parameters({"optimizer.lr": 0.1, "long": "x" * 10_000})
    tracker.log_metrics({"loss": 2.0}, step=1)
    tracker.log_metrics({"loss": 1.0}, step=2)
    tracker.log_tags({"colour": "blue"})
    tracker.log_text("a: 1\n", "settings.yaml")
    tracker.log_text("b: 2\n", "folder/more.yaml")
    tracker.finish()
    run = client.get_run(tracker.run_id)
    assert run.info.run_name == "everything"
    assert run.info.status == "FINISHED"
    assert run.data.params["optimizer.lr"] == "0.1"
    assert run.data.tags["colour"] == "blue"
    assert [(m.step, m.value) for m in client.get_metric_history(tracker.run_id, "loss")] == [(1, 2.0), (2, 1.0)]
    assert run.data.params["long"].startswith("xxx")
    assert run.data.params["long"].endswith("(shortened; whole in settings.yaml)")
    assert [file.path for file in client.list_artifacts(tracker.run_id)] == ["folder", "settings.yaml"]
    assert (settings.artifacts / "trials" / tracker.run_id / "artifacts" / "settings.yaml").read_text() == "a: 1\n"


def test_the_dataset_is_an_input_of_the_run(settings, client, digits):
    tracker = MlflowTracker.begin(settings, "with data")
    tracker.log_dataset(digits.root, digits.manifest, "training")
    run = client.get_run(tracker.run_id)
    assert run.info.status == "RUNNING"
    (used,) = run.inputs.dataset_inputs
    assert used.dataset.name == digits.root.name
    assert digits.manifest.digest.startswith(used.dataset.digest)
    assert json.loads(used.dataset.source)["uri"] == str(digits.root)
    assert run.data.tags["strata.dataset_digest"] == digits.manifest.digest
    tracker.finish()


@pytest.mark.filterwarnings("ignore:.*Any type hint")  # of MLflow, about its own wrapper
def test_the_model_is_served_for_any_number_of_images(settings):
    torch.manual_seed(0)
    classifier = Classifier(models.create("lenet5_modern", 10, 1), mean=[0.3], std=[0.4])
    tracker = MlflowTracker.begin(settings, "with a model")
    images = torch.randint(0, 256, (7, 32, 32, 1), dtype=torch.uint8)
    metadata = ModelMetadata(
        image=ImageSettings(channels=1),
        transforms=(Pad(kind="pad", size=32),),
        class_names=tuple("abcdefghij"),
        output="logits",
        dataset_digest="d",
    )
    tracker.log_model(classifier, images[:2], metadata)
    loaded = mlflow.pyfunc.load_model(f"runs:/{tracker.run_id}/model")
    for count in (1, 2, 7):
        expected = classifier(images[:count]).detach().numpy()
        np.testing.assert_allclose(loaded.predict(images[:count].numpy()), expected, atol=1e-5)
    assert str(loaded.metadata.signature.inputs) == "[Tensor('uint8', (-1, 32, 32, 1))]"
    tracker.finish()


def test_a_figure_is_a_picture(settings, client, tmp_path):
    tracker = MlflowTracker.begin(settings, "with curves")
    tracker.log_figure(learning_curves({"train_loss": {1: 2.0}}), "curves/learning.png")
    path = client.download_artifacts(tracker.run_id, "curves/learning.png", str(tmp_path))
    assert Path(path).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    tracker.finish()


def test_adopted_runs_are_children_of_the_ensemble(settings, client):
    member = finished(settings, "member")
    ensemble = MlflowTracker.begin(settings, "ensemble")
    ensemble.adopt(member.run_id)
    assert client.get_run(member.run_id).data.tags[PARENT_TAG] == ensemble.run_id
    ensemble.finish()


def test_a_group_is_found_by_exactly_its_members_once_it_is_finished_and_until_it_is_an_ensemble(settings):
    trials = settings.model_copy(update={"experiment": "groups"})
    group = MlflowTracker.begin(trials, "two members")
    group.log_tags({KIND_TAG: "group"})
    for name in ("a", "b", "stranger"):
        member = finished(trials, name)
        if name != "stranger":
            group.adopt(member.run_id)
    assert group_of(trials, trained_runs(trials, ["a", "b"])) == ""
    group.finish()
    assert group_of(trials, trained_runs(trials, ["a", "b"])) == group.run_id
    for others in (["a"], ["stranger"], ["a", "b", "stranger"]):
        assert group_of(trials, trained_runs(trials, others)) == ""
    group.log_tags({KIND_TAG: "ensemble"})
    assert group_of(trials, trained_runs(trials, ["a", "b"])) == ""


def test_a_run_that_is_taken_up_has_another_name_and_comes_to_another_end(settings, client):
    tracker = finished(settings, "group")
    with MlflowTracker.take_up(settings, tracker.run_id, "ensemble") as again:
        assert client.get_run(tracker.run_id).info.status == "RUNNING"
        again.finish("FAILED")
        assert client.get_run(tracker.run_id).info.status == "FAILED"
    run = client.get_run(tracker.run_id)
    assert (run.info.run_name, run.info.status) == ("ensemble", "FINISHED")


def test_runs_are_found_by_id_by_name_and_all_newest_first(settings):
    trials = settings.model_copy(update={"experiment": "search"})
    older, newer, other = finished(trials, "x"), finished(trials, "x"), finished(trials, "y")
    MlflowTracker.begin(trials, "unfinished").log_tags({KIND_TAG: "training"})
    finished(trials, "z", **{KIND_TAG: "ensemble"})
    assert [run.run_id for run in trained_runs(trials)] == [newer.run_id, other.run_id]
    assert [run.run_id for run in trained_runs(trials, ["y", older.run_id])] == [older.run_id, other.run_id]
    with pytest.raises(InputError, match="no finished training q; there are x, y"):
        trained_runs(trials, ["q"])


def test_an_unknown_experiment_is_named(settings):
    with pytest.raises(InputError, match="nobody's: there is none of this name"):
        trained_runs(settings.model_copy(update={"experiment": "nobody's"}))


def test_a_store_that_cannot_be_opened_is_named(tmp_path):
    (tmp_path / "file").write_text("no database")
    with pytest.raises(InputError, match=r"tracking\.uri = sqlite:///.*/file: not reachable"):
        connect(TrackingSettings(uri=f"sqlite:///{tmp_path}/file"))


def test_a_store_that_is_only_looked_at_is_not_made(tmp_path):
    with pytest.raises(InputError, match="no such store yet"):
        connect(TrackingSettings(uri=f"sqlite:///{tmp_path}/mlflow.db"))
    assert list(tmp_path.iterdir()) == []


def test_a_store_whose_making_was_killed_is_made_anew(tmp_path):
    (tmp_path / "mlflow.db.unfinished").write_text("half of a database")
    client = connect(TrackingSettings(uri=f"sqlite:///{tmp_path}/mlflow.db"), create=True)
    assert [experiment.name for experiment in client.search_experiments()] == ["Default"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow.db", "mlflow.db.lock"]


@pytest.mark.parametrize(("error", "status"), [(ValueError, "FAILED"), (SystemExit, "KILLED")])
def test_a_run_that_does_not_end_well_says_so(settings, client, error, status):
    with pytest.raises(error), MlflowTracker.begin(settings, "unlucky") as tracker:
        raise error
    assert client.get_run(tracker.run_id).info.status == status


def test_a_run_that_is_added_to_stays_finished(settings, client):
    tracker = finished(settings, "added to")
    with MlflowTracker.reopen(settings, tracker.run_id) as again:
        again.log_metrics({"eval_loss": 1.0}, step=0)
    assert client.get_run(tracker.run_id).info.status == "FINISHED"


@pytest.mark.attack
@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", ".."])
def test_a_run_whose_name_leads_out_of_the_folder_of_its_pictures_is_refused(name):
    with pytest.raises(InputError, match="is called as no folder may be"):
        refuse_outside(name)
    refuse_outside("lenet5-seed1..2/a")
