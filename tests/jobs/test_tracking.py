"""jobs/train.py and jobs/sync.py where MLflow is away, where training is killed, and where there is much to hide."""

import signal
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from benchmarks.mlflow_server import MlflowServer
from tests.jobs.commands import Place, call, start

pytestmark = pytest.mark.processes
EPOCHS = 6
CANARY = "canary-7h31sk"
"""Of every secret that is planted, and of nothing else."""
SECRETS = {
    "AWS_SECRET_ACCESS_KEY": f"{CANARY}-aws",
    "AWS_SESSION_TOKEN": f"{CANARY}-session",
    "MLFLOW_TRACKING_PASSWORD": f"{CANARY}-mlflow",
    "MLFLOW_TRACKING_TOKEN": f"{CANARY}-token",
    "DATABRICKS_TOKEN": f"{CANARY}-databricks",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = Place(tmp_path_factory.mktemp("tracking"))
    place.preprocess()
    return place


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = MlflowServer(tmp_path_factory.mktemp("server"))
    yield server
    server.kill()


def runs(server):
    client = MlflowClient(server.uri)
    return client, client.search_runs([client.get_experiment_by_name("digits").experiment_id])


def steps_of(client, run, key):
    return Counter(point.step for point in client.get_metric_history(run.info.run_id, key))


@pytest.mark.attack
def test_a_killed_training_without_mlflow_is_whole_there_after_a_second_one_and_sync(
    place, server, bucket, monkeypatch
):
    """And of all secrets that are about, none is written anywhere or printed."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    for path in filter(Path.is_file, place.dataset.rglob("*")):
        target = f"{bucket.path}/{path.relative_to(place.dataset)}"
        replace(bucket, path=target).write_bytes(path.read_bytes())
    address = server.uri.replace("http://", f"http://me:{CANARY}-uri@")
    command = place.train_command(
        1, f"epochs={EPOCHS}", "name=away", f"tracking.uri={address}", "tracking.wait_at_end_s=1",
        "tracking.checkpoints=upload", "tracking.log_every_steps=2", "tracking.system_every_s=0.5",
        f"dataset=s3://KEY:{CANARY}-dataset@{bucket.path}",
    )  # fmt: skip
    first = start(*command)
    while not any(path.name >= "epoch-0002.pt" for path in place.checkpoints()):
        assert first.poll() is None, first.communicate()[0]
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    printed = first.communicate()[0] + call(*command)
    assert "tracking: what is logged is kept in" in printed
    assert f"once it answers: python jobs/sync.py {place.folder}/runs/away-" in printed

    server.start()
    sync = ["python", "jobs/sync.py", f"{place.folder}/runs"]
    printed += call(*sync, status=2)
    assert "if you trust that store, give uri=…, with the password, which is not kept" in printed
    printed += call(*sync, f"uri={address}")
    client, (run,) = runs(server)
    assert run.info.run_name == "away"
    assert run.info.status == "FINISHED"
    assert steps_of(client, run, "val_loss") == Counter(range(1, EPOCHS + 1))
    steps = steps_of(client, run, "step_loss")
    epoch = max(steps) // EPOCHS
    assert steps == Counter(step for step in range(1, EPOCHS * epoch + 1) if step % 2 == 0 or step % epoch == 0)
    assert any(key.startswith("system/") for key in run.data.metrics)
    assert client.list_artifacts(run.info.run_id, "checkpoints")
    assert client.get_run(run.info.run_id).outputs.model_outputs
    assert "0 of 1 runs had something to send" in call(*sync)

    assert run.data.params["dataset"] == f"s3://KEY:***@{bucket.path}"
    assert CANARY not in printed
    for folder in (place.folder / "runs", server.folder):
        for path in folder.rglob("*"):
            assert not path.is_file() or CANARY.encode() not in path.read_bytes(), path
