"""jobs/train.py on several hosts, each with its own name, address and sshd."""

import base64
import contextlib
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import torch

from pipelines.training.checkpoint import read_checkpoint
from pipelines.training.workers import Solo
from tests.jobs.commands import Place, call, start
from tests.jobs.hosts import Host, reached_by_ssh, switched

pytestmark = pytest.mark.processes
COUNT, PORT, PATIENCE_S = 2, 2222, 200
SECRET = "a-password-of-the-environment"


@dataclass(frozen=True)
class Hosts:
    """host1, from which trainings are launched, and the others, which it reaches by ssh."""

    all: list[Host]
    key: Path
    ssh_log: Path

    def command(self, training: list[str]) -> list[str]:
        slots = ",".join(f"{host.name}:1" for host in self.all)
        launcher = ["horovodrun", "-np", str(len(self.all)), "-H", slots]
        ssh = ["--ssh-port", str(PORT), "--ssh-identity-file", str(self.key)]
        return self.all[0].inside(*launcher, *ssh, *training)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    folder = tmp_path_factory.mktemp("hosts")
    with ExitStack() as stack:
        found = stack.enter_context(switched({f"host{n}": () for n in range(1, COUNT + 1)}))
        key, log = stack.enter_context(reached_by_ssh(found[1:], folder, PORT))
        yield Hosts(found, key, log)


def _wait_until(happened) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("training"))
    place.preprocess()
    return place


def weights(place, runs):
    return read_checkpoint(place.checkpoints(runs)[-1], Solo()).model


def training(place, runs, epochs):
    return place.train_command(1, f"epochs={epochs}", f"name={runs}", f"runs_dir={place.folder}/{runs}")


def test_two_hosts_train_what_one_host_trains(hosts, place):
    call(*hosts.command(training(place, "hosts", 2)))
    assert f"Accepted publickey for root from {hosts.all[0].address}" in hosts.ssh_log.read_text()
    call(*training(place, "alone", 2))
    torch.testing.assert_close(weights(place, "hosts"), weights(place, "alone"), rtol=1e-4, atol=1e-5)


def test_a_host_that_is_cut_off_ends_the_training_and_the_same_command_goes_on(hosts, place):
    command = hosts.command(training(place, "cut", 6))
    job = start(*command)
    try:
        _wait_until(lambda: place.checkpoints("cut") or job.poll() is not None)
        hosts.all[1].cut_off()
        printed, _ = job.communicate(timeout=PATIENCE_S)
    finally:
        job.kill()
        hosts.all[1].reconnect()
    assert job.returncode, printed
    assert "error: worker 0: another worker ended or cannot be reached" in printed
    assert "going on after epoch" in call(*command)
    assert place.checkpoints("cut")[-1].name == "epoch-0006.pt"


@pytest.mark.parametrize("seed", range(4))
def test_one_other_host_is_reached_over_a_network_and_not_the_loopback(hosts, monkeypatch, seed):
    """Whichever of the two Python's sets begin with."""
    monkeypatch.setenv("PYTHONHASHSEED", str(seed))
    ssh = ["--ssh-port", str(PORT), "--ssh-identity-file", str(hosts.key), "--disable-cache"]
    told = ["sh", "-c", "echo by $HOROVOD_GLOO_IFACE at $HOROVOD_GLOO_RENDEZVOUS_ADDR"]
    printed = call(*hosts.all[0].inside("horovodrun", "-np", "1", "-H", f"{hosts.all[1].name}:1", *ssh, *told))
    assert f"by eth0 at {hosts.all[0].address}" in printed


@pytest.mark.attack
def test_no_command_line_has_a_password_or_horovods_key_and_its_store_is_on_one_interface(hosts, place, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", SECRET)
    command = hosts.command(training(place, "secret", 3))
    command.insert(command.index("horovodrun") + 1, "--disable-cache")  # of which interfaces the hosts share
    job = start(*command)
    seen: set[str] = set()
    listening: set[str] = set()
    told: set[int] = set()
    while job.poll() is None:
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                line = process.cmdline()
                seen.update(line)
                if line[:2] == ["python", "jobs/train.py"] and process.environ()["MLFLOW_TRACKING_PASSWORD"] == SECRET:
                    told.add(process.pid)
        table = subprocess.run(hosts.all[0].inside("ss", "-tlnHp"), capture_output=True, text=True, check=True).stdout
        if len(told) == COUNT:  # before, it listens for what its services on the hosts sign
            listening.update(line.split()[3] for line in table.splitlines() if "horovodrun" in line)
        time.sleep(0.1)
    assert job.returncode == 0, job.communicate()[0]
    assert len(told) == COUNT
    assert not [word for word in seen if SECRET in word]
    assert any("horovod.runner.task_fn" in word for word in seen)
    assert not [word for word in seen if b"horovod.runner.common.util.settings" in _decoded(word)]
    assert {address.rpartition(":")[0] for address in listening} == {hosts.all[0].address}


def _decoded(word: str) -> bytes:
    """What Horovod packs its objects in."""
    pieces = re.findall(r"[A-Za-z0-9+/=]{40,}", word)
    return b"".join(base64.b64decode(piece + "==") for piece in pieces)
