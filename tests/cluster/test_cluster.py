"""The cluster of docker/compose.yaml, end to end and under attack: what it runs, as plain processes on three hosts."""

import base64
import json
import re
import signal
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import boto3
import psutil
import pytest

from pipelines.dataset.manifest import read_manifest
from tests.cluster.stack import Stack, running
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.processes
MASTER = "spark://spark-master:7077"
SUBMIT = ("spark-submit", "--master", MASTER)
OLD_DEFAULT = "password1234"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("cluster")) as stack:
        yield stack


def ask(stack: Stack, path: str, login: str | None = None, host: str = "mlflow:5000", body: object = None) -> bytes:
    """MLflow's answer to a request from its own network. login: `user:password`."""
    headers = {"Host": host, "Content-Type": "application/json"}
    if login:
        headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    content = json.dumps(body).encode() if body is not None else None
    request = Request(f"http://{stack.hosts['services'].address}:5000{path}", content, headers)
    return stack.hosts["training-1"].call(lambda: bytes(urlopen(request, timeout=30).read()))


def refusal(stack: Stack, *arguments: Any, **more: Any) -> int:
    """The status of MLflow's refusal."""
    with pytest.raises(HTTPError) as caught:
        ask(stack, *arguments, **more)
    return caught.value.code


def login(stack: Stack) -> str:
    return f"strata:{stack.secrets['MLFLOW_PASSWORD']}"


def api(stack: Stack, path: str, body: object = None) -> Any:
    return json.loads(ask(stack, f"/api/2.0/mlflow/{path}", login(stack), body=body))


def master_state(stack: Stack) -> Any:
    """What the master shows on its web page."""
    address = f"http://{stack.hosts['services'].address}:8080/json/"
    return json.loads(stack.hosts["services"].call(lambda: urlopen(address, timeout=30).read()))


def test_digits_become_a_dataset_a_training_on_two_hosts_and_a_run_with_its_artifacts(stack):
    dataset = stack.folder / "work" / "datasets" / "digits"
    stack.run(
        "submit", "services", *SUBMIT, "jobs/preprocess.py", "conf/preprocess/digits.yaml", f"output.path={dataset}"
    )
    assert sum(file.rows for file in read_manifest(dataset).splits["train"].files) > 1000
    assert {app["state"] for app in master_state(stack)["completedapps"]} == {"FINISHED"}

    printed = stack.run(
        "training-1", "training-1", "horovodrun", "-np", "2", "-H", "training-1:1,training-2:1",
        "python", "jobs/train.py", "conf/train/lenet5_digits.yaml", "epochs=2", f"dataset={dataset}",
        f"runs_dir={stack.folder}/work/runs", "tracking.uri=http://mlflow:5000", "tracking.system_every_s=null",
    )  # fmt: skip
    assert "Accepted publickey" in stack.log("training-2").read_text(), printed
    experiment = api(stack, "experiments/get-by-name?experiment_name=digits")["experiment"]["experiment_id"]
    (run,) = api(stack, "runs/search", {"experiment_ids": [experiment]})["runs"]
    assert run["info"]["status"] == "FINISHED"
    assert {"val_loss", "val_top1_error"} <= {metric["key"] for metric in run["data"]["metrics"]}
    assert any(tag == {"key": "strata.workers", "value": "2"} for tag in run["data"]["tags"])

    identity = run["info"]["run_id"]
    files = {file["path"] for file in api(stack, f"artifacts/list?run_id={identity}")["files"]}
    assert "summary.txt" in files
    content = ask(stack, f"/get-artifact?path=summary.txt&run_id={identity}", login(stack))
    assert b"lenet5_modern" in content
    assert stored(stack, f"{experiment}/{identity}/artifacts/summary.txt") == content
    assert rows(stack, "select count(*) from runs") == rows(stack, "select count(distinct username) from users") == "1"


def stored(stack: Stack, key: str) -> bytes:
    """An object of the bucket, from the store itself."""
    address, secret = f"http://{stack.hosts['services'].address}:9000", stack.secrets["STORE_PASSWORD"]
    store = boto3.client(
        "s3", endpoint_url=address, aws_access_key_id="strata", aws_secret_access_key=secret, region_name="us-east-1"
    )
    return stack.hosts["services"].call(lambda: bytes(store.get_object(Bucket="mlflow", Key=key)["Body"].read()))


def rows(stack: Stack, query: str) -> str:
    """The database's answer to a query of one value, asked with MLflow's own login."""
    return stack.run("mlflow", "services", "psql", "--no-align", "--tuples-only", "-d", "mlflow", "-c", query).strip()


@pytest.mark.attack
@pytest.mark.parametrize("intruder", ["a wrong secret", "no secret"])
def test_spark_lets_nobody_in_without_the_secret(stack, intruder):
    script, before = stack.folder / "intruder.py", len(master_state(stack)["completedapps"])
    script.write_text("from pyspark.sql import SparkSession\nSparkSession.builder.getOrCreate().range(9).count()\n")
    with_our_configuration = [REPOSITORY / "docker" / "spark.sh"] if intruder == "a wrong secret" else []
    words = [*with_our_configuration, *SUBMIT, script]
    stack.start(intruder, "services", *words, service="submit", STRATA_SPARK_SECRET="0" * 64)
    seen = ("grep", "-q", "Failed to connect to master", str(stack.log(intruder)))
    try:
        stack.wait_healthy(intruder, "services", *seen, service="submit")
    finally:
        stack.kill(intruder)
    state = master_state(stack)
    assert not state["activeapps"]
    assert len(state["completedapps"]) == before


@pytest.mark.attack
def test_an_application_shows_its_configuration_to_nobody(stack):
    script = stack.folder / "with_pages.py"
    script.write_text(
        "from pyspark.sql import SparkSession\n"
        "print('its pages are at', SparkSession.builder.getOrCreate().sparkContext.uiWebUrl)\n"
    )
    assert "its pages are at None\n" in stack.run("submit", "services", *SUBMIT, script)


@pytest.mark.attack
def test_mlflow_lets_nobody_in_without_the_password(stack):
    search = "/api/2.0/mlflow/experiments/search?max_results=9"
    assert json.loads(ask(stack, search, login(stack)))["experiments"]
    assert refusal(stack, search) == 401
    for wrong in ("strata:", "strata:wrong-password", f"strata:{OLD_DEFAULT}", f"admin:{OLD_DEFAULT}"):
        assert refusal(stack, search, wrong) == 401
    assert refusal(stack, "/") == 401
    assert refusal(stack, "/get-artifact?path=summary.txt&run_id=0") == 401
    assert refusal(stack, "/api/2.0/mlflow-artifacts/artifacts") == 401


@pytest.mark.attack
def test_mlflow_answers_to_its_own_names_alone(stack):
    search = "/api/2.0/mlflow/experiments/search?max_results=9"
    assert refusal(stack, search, login(stack), host="evil.example") == 403
    assert refusal(stack, search, login(stack), host="evil.example:5000") == 403


@pytest.mark.attack
@pytest.mark.parametrize("password", ["", OLD_DEFAULT, "short"])
def test_mlflow_does_not_start_with_a_bad_password(stack, password):
    fresh = {"MLFLOW_AUTH_ADMIN_USERNAME": "another", "MLFLOW_AUTH_ADMIN_PASSWORD": password}
    command = stack.services["mlflow"].command
    printed = stack.run("mlflow", "services", *command[:-1], "5999", status=1, **fresh)
    assert "password" in printed


@pytest.mark.attack
def test_the_database_asks_for_its_password(stack):
    query = ("psql", "--no-password", "-d", "mlflow", "-c", "select 1")
    assert "no password supplied" in stack.run("mlflow", "services", *query, status=2, PGPASSWORD="")
    assert "authentication failed" in stack.run("mlflow", "services", *query, status=2, PGPASSWORD="wrong")


def test_a_host_that_is_taken_away_has_the_training_saved_first(stack):
    """As Kubernetes does it: sshd.sh is process 1 of its container, and is sent SIGTERM."""
    stack.kill("training-2")
    shipped = stack.services["training-2"].command
    keys = {"STRATA_SSH_KEYS": str(stack.folder / "keys")}
    stack.start("training-2", "training-2", "unshare", "--pid", "--fork", "--mount-proc", *shipped, **keys)
    stack.wait_healthy("training-2", "training-2", **keys)
    stack.start(
        "training", "training-1", "horovodrun", "-np", "2", "-H", "training-1:1,training-2:1",
        "python", "jobs/train.py", "conf/train/lenet5_digits.yaml", "epochs=2000", "seed=9",
        f"dataset={stack.folder}/work/datasets/digits", f"runs_dir={stack.folder}/work/runs",
        "tracking.uri=http://mlflow:5000", "tracking.system_every_s=null", service="training-1",
    )  # fmt: skip
    log = stack.log("training")
    stack.wait_healthy("training", "training-1", "grep", "-q", "epoch 2/2000", str(log), service="training-1")
    (first,) = psutil.Process(stack.processes["training-2"].pid).children()
    first.send_signal(signal.SIGTERM)
    assert stack.processes["training-2"].wait(30) is not None
    assert stack.processes["training"].wait(30) != 0, "what starts the launcher must see that it is not done"
    assert "is told to save" in stack.log("training-2").read_text()
    assert re.search(r"stopped by SIGTERM after step \d+; the same command goes on from there", log.read_text())
