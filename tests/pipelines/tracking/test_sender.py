"""A spool to a real MLflow server that is away, hangs, dies, refuses and forgets to answer: all of it arrives, once."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter

import pytest
from mlflow import MlflowClient
from mlflow.models import Model as SavedModel

from benchmarks.mlflow_server import MlflowServer, first_time, proxied
from pipelines.config import InputError
from pipelines.tracking import sender as sender_module
from pipelines.tracking.base import now_ms
from pipelines.tracking.entries import Begin, Child, Dataset, File, Metrics, Model, Parameters, Status, Tags
from pipelines.tracking.sender import Sender, UnreachableError
from pipelines.tracking.spool import Sent, Spool, unsent
from pipelines.tracking.tags import PARENT_TAG, SPOOL_TAG

pytestmark = pytest.mark.processes
STEPS = 30


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    monkeypatch.setattr(sender_module, "SETTLE_S", 0.2)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Not started: the first test wants none."""
    server = MlflowServer(tmp_path_factory.mktemp("server"))
    yield server
    server.kill()


@pytest.fixture(scope="module")
def running(server):
    if not server.is_running:
        server.start()
    return server


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """As small as MLflow has them."""
    folder = tmp_path_factory.mktemp("models") / "model"
    folder.mkdir()
    SavedModel().save(folder / "MLmodel")
    return folder


def begun(folder, uri, name="run", experiment="trials"):
    begin = Begin(
        spool=os.urandom(8).hex(), name=name, experiment=experiment, uri=uri, artifacts="unused", at_ms=now_ms()
    )
    return Spool(folder / name / "spool" / "0001", begin)


def log(spool, steps):
    for step in steps:
        spool.append(Metrics(values={"loss": 1 / step, "error": 0.5}, step=step, at_ms=now_ms()))


def logged(folder, uri, model=None, name="run", steps=STEPS):
    """A spool in which something of every kind is."""
    spool = begun(folder, uri, name)
    (folder / "settings.yaml").write_text("a: 1\n")
    spool.append(Parameters(values={"lr": "0.1"}))
    spool.append(File(path=spool.keep(folder / "settings.yaml"), folder="about"))
    spool.append(Dataset(name="digits", digest="d" * 36, source="some/where", context="training"))
    log(spool, range(1, steps + 1))
    spool.append(Tags(values={"colour": "blue"}))
    if model:
        spool.append(Model(path=spool.keep(model)))
    spool.append(Status(status="FINISHED", at_ms=now_ms()))
    return spool


def drain(spool, uri, attempts=1):
    """So often, until it succeeds."""
    sender = Sender(spool.folder, uri, print)
    try:
        for _ in range(attempts):
            try:
                sender.drain()
                return
            except UnreachableError as error:
                print(error)
        raise AssertionError(f"not drained in {attempts} attempts")
    finally:
        sender.close()


def check(server, spool, steps=STEPS, with_model=False):
    """Everything that `logged` logged is in the store, each thing once."""
    client = MlflowClient(server.uri)
    experiment = client.get_experiment_by_name("trials").experiment_id
    (run,) = client.search_runs([experiment], f"tags.`{SPOOL_TAG}` = '{spool.begin.spool}'")
    for key in ("loss", "error"):
        history = client.get_metric_history(run.info.run_id, key)
        assert Counter(point.step for point in history) == Counter(range(1, steps + 1))
    assert run.data.params == {"lr": "0.1"}
    assert run.data.tags["colour"] == "blue"
    assert [file.path for file in client.list_artifacts(run.info.run_id, "about")] == ["about/settings.yaml"]
    assert len(run.inputs.dataset_inputs) == 1
    assert run.info.status == "FINISHED"
    assert unsent(spool.folder) == 0
    assert not list(spool.folder.glob("files/*/*"))
    if with_model:
        (output,) = client.get_run(run.info.run_id).outputs.model_outputs
        (found,) = client.search_logged_models([experiment], f"source_run_id = '{run.info.run_id}'")
        assert found.model_id == output.model_id
        assert found.status == "READY"
    return run


def test_a_server_that_is_down_keeps_nothing_from_being_logged_and_has_it_all_once_it_is_up(server, tmp_path, model):
    spool = logged(tmp_path, server.uri, model)
    with pytest.raises(AssertionError, match="not drained"):
        drain(spool, server.uri)
    assert unsent(spool.folder) == STEPS + 7
    server.start()
    drain(spool, server.uri)
    run = check(server, spool, with_model=True)
    assert run.info.run_name == "run"
    assert run.info.start_time == spool.begin.at_ms
    assert Sent.of(spool.folder).run_id == run.info.run_id


@pytest.mark.parametrize("fault", ["fail", "lose"])
def test_requests_that_fail_or_are_never_answered_leave_everything_there_once(running, tmp_path, model, fault):
    spool = logged(tmp_path, running.uri, model)
    with proxied(running) as proxy:
        proxy.fault = first_time(fault)
        drain(spool, proxy.uri, attempts=100)
        assert proxy.count > 10
    check(running, spool, with_model=True)


def test_a_server_that_hangs_at_a_request_and_does_it_late_has_everything_once(running, tmp_path, model):
    spool = logged(tmp_path, running.uri, model)
    hangs_at = ["runs/create", "runs/log-batch", "logged-models", "runs/outputs"]

    def hang(method, path, body):
        if method == "POST" and any(path.endswith(end) for end in hangs_at):
            hangs_at.remove(next(end for end in hangs_at if path.endswith(end)))
            running.signal(signal.SIGSTOP)
        return "pass"

    with proxied(running) as proxy:
        proxy.fault = hang
        sender = Sender(spool.folder, proxy.uri, print)
        while hangs_at:
            with pytest.raises(UnreachableError):
                sender.drain()
            running.signal(signal.SIGCONT)
        sender.drain()
        sender.close()
    check(running, spool, with_model=True)


def test_a_run_that_was_made_twice_is_one_run(running, tmp_path):
    spool = logged(tmp_path, running.uri)
    client = MlflowClient(running.uri)
    experiment = client.get_experiment_by_name("trials").experiment_id
    for _ in range(2):
        client.create_run(experiment, tags={SPOOL_TAG: spool.begin.spool})
    drain(spool, running.uri)
    assert client.search_runs([experiment], f"tags.`{SPOOL_TAG}` = '{spool.begin.spool}'").token is None
    (run,) = client.search_runs([experiment], f"tags.`{SPOOL_TAG}` = '{spool.begin.spool}'")
    assert run.info.status == "FINISHED"


def test_an_entry_that_mlflow_refuses_is_kept_and_does_not_hold_up_those_behind_it(running, tmp_path, capsys):
    spool = begun(tmp_path, running.uri)
    for name in ("loss", "what?!", "error"):
        spool.append(Metrics(values={name: 1.0}, step=1, at_ms=now_ms()))
    drain(spool, running.uri)
    run = MlflowClient(running.uri).get_run(Sent.of(spool.folder).run_id)
    assert set(run.data.metrics) == {"loss", "error"}
    assert "what?!" in (spool.folder / "refused.jsonl").read_text()
    assert "MLflow refuses an entry of run (metrics)" in capsys.readouterr().out


@pytest.mark.attack
def test_a_planted_entry_about_a_file_elsewhere_is_kept_back_and_the_file_too(running, tmp_path, capsys):
    (tmp_path / "precious").write_text("mine")
    spool = begun(tmp_path, running.uri)
    spool.append(File(path="../../../precious", folder="about"))
    spool.append(Tags(values={"colour": "blue"}))
    drain(spool, running.uri)
    client, run_id = MlflowClient(running.uri), Sent.of(spool.folder).run_id
    assert client.get_run(run_id).data.tags["colour"] == "blue"
    assert client.list_artifacts(run_id) == []
    assert "Strata refuses an entry of run (file)" in capsys.readouterr().out
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_run_that_was_deleted_is_made_anew_when_its_training_goes_on(running, tmp_path):
    spool = logged(tmp_path, running.uri)
    drain(spool, running.uri)
    deleted = Sent.of(spool.folder).run_id
    MlflowClient(running.uri).delete_run(deleted)
    log(spool, [STEPS + 1])
    drain(spool, running.uri, attempts=2)
    run_id = Sent.of(spool.folder).run_id
    assert run_id != deleted
    assert len(MlflowClient(running.uri).get_metric_history(run_id, "loss")) == STEPS + 1


def test_a_child_is_one_as_soon_as_its_parent_is_there(running, tmp_path):
    child, parent = begun(tmp_path, running.uri, "child"), begun(tmp_path, running.uri, "parent")
    child.append(Child(parent=parent.begin.spool))
    drain(child, running.uri)
    assert unsent(child.folder) == 1
    drain(parent, running.uri)
    drain(child, running.uri)
    assert unsent(child.folder) == 0
    run = MlflowClient(running.uri).get_run(Sent.of(child.folder).run_id)
    assert run.data.tags[PARENT_TAG] == Sent.of(parent.folder).run_id


def test_two_processes_do_not_send_the_same_spool(running, tmp_path):
    spool = begun(tmp_path, running.uri)
    sender = Sender(spool.folder, running.uri, print)
    with pytest.raises(InputError, match="another process is at it"):
        Sender(spool.folder, running.uri, print)
    sender.close()


@pytest.mark.attack
def test_a_training_puts_no_file_where_a_server_says_but_below_its_own_folder_for_artifacts(running, tmp_path):
    MlflowClient(running.uri).create_experiment("theirs", artifact_location=(tmp_path / "home").as_uri())
    spool = begun(tmp_path, running.uri, experiment="theirs")
    (tmp_path / "precious").write_text("harmless")
    spool.append(File(path=spool.keep(tmp_path / "precious"), folder=".ssh"))
    command = [sys.executable, "-m", "pipelines.tracking.sender", str(spool.folder)]
    for place, status in ("artifacts", 1), ("home", 0):
        instructions = {"uri": running.uri, "artifacts": str(tmp_path / place), "wait_s": 0}
        done = subprocess.run(
            command, input=f"{json.dumps(instructions)}\n", capture_output=True, text=True, check=False
        )
        assert done.returncode == status, done.stdout
        assert (f"on this machine and outside of {tmp_path}/artifacts: give" in done.stdout) == bool(status)
        assert (tmp_path / "home").exists() != bool(status)


SENDING = """
import sys
from pathlib import Path
from pipelines.tracking import sender
sender.POINTS = 2  # many requests
sender.Sender(Path(sys.argv[1]), sys.argv[2], print).drain()
"""


def test_a_sender_that_is_killed_at_any_moment_sends_the_rest_the_next_time(running, tmp_path):
    spool = begun(tmp_path, running.uri)
    log(spool, range(1, 301))
    for seconds in (0.3, 0.6, 0.9):
        process = subprocess.Popen([sys.executable, "-c", SENDING, str(spool.folder), running.uri])
        while not Sent.of(spool.folder).run_id:
            pass
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    drain(spool, running.uri)
    history = MlflowClient(running.uri).get_metric_history(Sent.of(spool.folder).run_id, "loss")
    assert Counter(point.step for point in history) == Counter(range(1, 301))


def test_a_server_that_is_killed_in_the_middle_has_everything_after_its_restart(running, tmp_path):
    spool = logged(tmp_path, running.uri, steps=500)
    process = subprocess.Popen([sys.executable, "-c", SENDING, str(spool.folder), running.uri], stderr=subprocess.PIPE)
    while not Sent.of(spool.folder).bytes:
        assert process.poll() is None
    running.kill()
    assert process.wait() != 0
    running.start()
    drain(spool, running.uri)
    check(running, spool, steps=500)
