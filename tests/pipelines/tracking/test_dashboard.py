import json
import subprocess
import sys

import pytest
from mlflow import MlflowClient

from pipelines.config import TrackingSettings
from pipelines.tracking.dashboard import addresses
from pipelines.tracking.store import connect, experiment_id
from pipelines.tracking.tags import NOTE_TAG
from pipelines.tracking.view import VIEW, address
from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dashboard")
    settings = TrackingSettings(uri=f"sqlite:///{folder}/mlflow.db", artifacts=folder / "artifacts")
    connect(settings, create=True)
    return settings


def made(settings, name):
    client = MlflowClient(settings.uri)
    return client, experiment_id(client, settings.model_copy(update={"experiment": name}))


def test_a_new_experiment_has_a_view_with_errors_and_a_description_that_leads_there(settings):
    client, experiment = made(settings, "new")
    tags = client.get_experiment(experiment).tags
    assert f"]({address(experiment)})" in tags[NOTE_TAG]
    assert f"viewStateShareKey={VIEW}" in address(experiment)
    state = json.loads(json.loads(tags[f"mlflow.sharedViewState.{VIEW}"])["state"])
    assert "metrics.`eval_top1_error`" in state["selectedColumns"]
    assert set(state["selectedColumns"]) <= set(state["columnOrder"])


def test_what_somebody_wrote_about_an_experiment_stays(settings):
    client = MlflowClient(settings.uri)
    client.create_experiment("described", tags={NOTE_TAG: "ours since 1998"})
    _, experiment = made(settings, "described")
    tags = client.get_experiment(experiment).tags
    assert tags[NOTE_TAG] == "ours since 1998"
    assert f"mlflow.sharedViewState.{VIEW}" in tags


def test_addresses_are_those_of_experiments_with_runs_and_lead_to_the_view(settings):
    client, older = made(settings, "older")
    made(settings, "empty")
    newer = client.create_experiment("newer")
    for experiment in (older, newer):
        client.create_run(experiment)
    found = addresses(settings.uri, "http://here")
    assert found == {name: f"http://here/{address(id_)}" for name, id_ in (("newer", newer), ("older", older))}
    assert list(found) == ["newer", "older"]
    assert f"mlflow.sharedViewState.{VIEW}" in client.get_experiment(newer).tags


def test_a_store_that_is_none_is_said_in_one_line(tmp_path):
    (tmp_path / "mlflow.db").write_text("no database")
    command = [sys.executable, "-m", "pipelines.tracking.dashboard", f"sqlite:///{tmp_path}/mlflow.db", "http://here"]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: tracking.uri = ")
    assert "Traceback" not in ended.stderr
