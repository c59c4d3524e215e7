"""A training's run in a local store: told to its spool, brought there by another process."""

import pytest
from mlflow import MlflowClient

from pipelines.config import InputError, TrackingSettings
from pipelines.tracking.entries import File, Status
from pipelines.tracking.spool import entries, unsent
from pipelines.tracking.spooled import SpooledTracker
from pipelines.tracking.store import connect
from pipelines.tracking.tags import PARENT_TAG

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tracking")
    settings = TrackingSettings(
        uri=f"sqlite:///{folder}/mlflow.db", artifacts=folder / "artifacts", experiment="trials", wait_at_end_s=120
    )
    connect(settings, create=True)
    return settings


@pytest.fixture
def nowhere():
    """A server that is not there, which nobody waits for."""
    return TrackingSettings(uri="http://me:secret@127.0.0.1:9", experiment="trials", wait_at_end_s=0)


def test_what_a_training_logs_is_in_the_store_when_it_has_ended(settings, tmp_path):
    with (
        SpooledTracker.begin(settings, "parent", tmp_path / "parent") as parent,
        SpooledTracker.begin(settings, "child", tmp_path / "child", parent=parent.id) as child,
    ):
        for epoch in (1, 2):
            child.log_metrics({"train_loss": 1 / epoch}, epoch)
        child.log_learning_curves()
    client = MlflowClient(settings.uri)
    run = client.get_run(child.run_id)
    assert run.info.status == client.get_run(parent.run_id).info.status == "FINISHED"
    assert run.data.tags[PARENT_TAG] == parent.run_id
    assert [file.path for file in client.list_artifacts(child.run_id)] == ["learning_curves.png"]


def test_a_store_that_is_away_is_said_once_with_the_command_that_sends_later_and_without_its_password(
    nowhere, tmp_path, capfd
):
    with SpooledTracker.begin(nowhere, "run", tmp_path / "run") as tracker:
        tracker.log_metrics({"loss": 1.0}, 1)
    assert tracker.run_id == ""
    printed = capfd.readouterr().out
    assert (
        f"tracking: 4 entries of the run are not in MLflow yet; once it answers: python jobs/sync.py {tmp_path}/run"
        in printed
    )
    assert "secret" not in printed
    assert "secret" not in (tracker.folder / "journal.jsonl").read_text()


@pytest.mark.parametrize(("error", "status"), [(ValueError, "FAILED"), (SystemExit, "KILLED")])
def test_a_training_that_does_not_end_well_says_so_and_is_at_work_when_it_goes_on(nowhere, tmp_path, error, status):
    with pytest.raises(error), SpooledTracker.begin(nowhere, "unlucky", tmp_path) as first:
        raise error
    with SpooledTracker.begin(nowhere, "unlucky", tmp_path) as again:
        assert again.id == first.id
    with SpooledTracker.begin(nowhere, "unlucky", tmp_path) as finished:
        assert finished.was_finished
    seen = [entry.status for entry in entries(first.folder) if isinstance(entry, Status)]
    assert seen == ["RUNNING", status, "RUNNING", "FINISHED"]


def test_a_fresh_training_in_the_same_folder_is_another_run(nowhere, tmp_path):
    first = SpooledTracker.begin(nowhere, "x", tmp_path)
    first.close()
    second = SpooledTracker.begin(nowhere, "x", tmp_path, fresh=True)
    second.close()
    assert second.id != first.id


def test_files_wait_in_the_spool(nowhere, tmp_path):
    with SpooledTracker.begin(nowhere, "x", tmp_path) as tracker:
        tracker.log_text("a: 1\n", "about/settings.yaml")
    (file,) = (entry for entry in entries(tracker.folder) if isinstance(entry, File))
    assert (tracker.folder / file.path).read_text() == "a: 1\n"
    assert file.folder == "about"
    assert unsent(tracker.folder) == 4


def test_an_address_that_can_never_be_one_is_refused_at_once(tmp_path):
    with pytest.raises(InputError, match="not an address that MLflow knows"):
        SpooledTracker.begin(TrackingSettings(uri="htp://host"), "x", tmp_path)
    (tmp_path / "file").write_text("no database, for sure")
    with pytest.raises(InputError, match="file is not a database"):
        SpooledTracker.begin(TrackingSettings(uri=f"sqlite:///{tmp_path}/file"), "x", tmp_path)
    assert not (tmp_path / "spool").exists()
