"""`make dashboard`, started as its recipe says, on loopback."""

import json
import shlex
import subprocess
import time
from contextlib import closing
from http.client import HTTPConnection

import psutil
import pytest

from benchmarks.mlflow_server import free_port
from tests.conftest import REPOSITORY
from tests.jobs.commands import environment

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory):
    """Its process and its port."""
    port, folder = free_port(), tmp_path_factory.mktemp("dashboard")
    (folder / "work").mkdir()
    recipe = subprocess.run(
        ["make", "--no-print-directory", "-n", "dashboard", f"PORT={port}"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    command = recipe[recipe.index("mlflow server") :].replace("\\\n", " ")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            shlex.split(command),
            cwd=folder,
            stdout=log,
            stderr=log,
            env=environment() | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"},
        )
        deadline = time.monotonic() + 120
        while not answers(port):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.3)
        yield process, port
        process.terminate()
        process.wait(30)


def answers(port):
    try:
        return ask(port, "GET", "/health")[0] == 200
    except OSError:
        return False


def ask(port, method, path, body=None, **headers):
    with closing(HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request(method, path, body, {key.replace("_", "-"): value for key, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read()


@pytest.mark.attack
def test_it_listens_on_loopback_alone(dashboard):
    process, port = psutil.Process(dashboard[0].pid), dashboard[1]
    found = {
        one.laddr
        for part in [process, *process.children(recursive=True)]
        for one in part.net_connections("inet")
        if one.status == "LISTEN"
    }
    assert found == {("127.0.0.1", port)}


@pytest.mark.attack
@pytest.mark.parametrize("host", ["attacker.example", "127.0.0.1.attacker.example:80", "localhost.attacker.example"])
def test_a_page_that_rebinds_its_name_to_loopback_is_not_answered(dashboard, host):
    status, body = ask(dashboard[1], "GET", "/ajax-api/2.0/mlflow/experiments/get?experiment_id=0", Host=host)
    assert status == 403
    assert b"experiment" not in body


@pytest.mark.attack
@pytest.mark.parametrize("origin", ["http://attacker.example", "null"])
def test_a_page_from_elsewhere_changes_nothing(dashboard, origin):
    made = json.dumps({"name": f"planted by {origin}"})
    status, _ = ask(
        dashboard[1], "POST", "/api/2.0/mlflow/experiments/create", made, Origin=origin, Content_Type="application/json"
    )
    assert status == 403
    name = f"planted%20by%20{origin.replace('/', '%2F').replace(':', '%3A')}"
    assert ask(dashboard[1], "GET", f"/api/2.0/mlflow/experiments/get-by-name?experiment_name={name}")[0] == 404
