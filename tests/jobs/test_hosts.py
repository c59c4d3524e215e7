"""jobs/train.py on several hosts: network namespaces, each with its own name, address and sshd.

Root, iproute2, sshd and a kernel that makes namespaces are needed; where one of them is missing the tests are skipped.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from pipelines.training.checkpoint import read_checkpoint
from pipelines.training.workers import Solo
from tests.jobs.commands import Place, call, start

pytestmark = pytest.mark.processes
COUNT, PORT, PATIENCE_S = 2, 2222, 200
AS_HOST = 'hostname "$0" && exec "$@"'


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@dataclass(frozen=True)
class Host:
    name: str
    address: str
    namespace: str
    switch: str
    """The namespace that has the other end of its cable."""

    @property
    def cable(self) -> str:
        return f"to-{self.name}"

    def plug_in(self, names: str) -> None:
        """names: of all hosts, as in /etc/hosts."""
        own_etc = Path("/etc/netns") / self.namespace
        (own_etc / "ssh").mkdir(parents=True)
        (own_etc / "hosts").write_text(f"127.0.0.1 localhost\n{names}")
        (own_etc / "ssh" / "ssh_config").write_text("UserKnownHostsFile /dev/null\nLogLevel ERROR\n")
        ip("netns", "add", self.namespace)
        ip("-n", self.switch, "link", "add", self.cable, "type", "veth", "peer", "eth0", "netns", self.namespace)
        ip("-n", self.switch, "link", "set", self.cable, "up", "master", "bridge")
        ip("-n", self.namespace, "addr", "add", f"{self.address}/24", "dev", "eth0")
        for link in ("lo", "eth0"):
            ip("-n", self.namespace, "link", "set", link, "up")

    def inside(self, *command: object) -> list[str]:
        """The command, run on this host."""
        words = ["ip", "netns", "exec", self.namespace, "unshare", "--uts", "sh", "-c", AS_HOST, self.name]
        return [*words, *map(str, command)]

    def cut_off(self) -> None:
        ip("-n", self.switch, "link", "set", self.cable, "down")

    def reconnect(self) -> None:
        ip("-n", self.switch, "link", "set", self.cable, "up")

    def remove(self) -> None:
        found = subprocess.run(["ip", "netns", "pids", self.namespace], capture_output=True, text=True, check=False)
        for pid in found.stdout.split():
            subprocess.run(["kill", "-KILL", pid], check=False)
        subprocess.run(["ip", "netns", "del", self.namespace], capture_output=True, check=False)
        shutil.rmtree(Path("/etc/netns") / self.namespace, ignore_errors=True)


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
    if os.geteuid() or not (shutil.which("ip") and Path("/usr/sbin/sshd").exists()):
        pytest.skip("needs root, iproute2 and openssh-server")
    folder, mark = tmp_path_factory.mktemp("hosts"), f"strata{os.getpid()}"
    switch, key = f"{mark}-switch", folder / "key"
    found = [Host(f"host{n}", f"10.213.77.{n}", f"{mark}-{n}", switch) for n in range(1, COUNT + 1)]
    for path in (key, folder / "host_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    with ExitStack() as stack:
        try:
            ip("netns", "add", switch)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"this kernel makes no network namespaces here: {error.stderr.decode().strip()}")
        stack.callback(ip, "netns", "del", switch)
        ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        ip("-n", switch, "link", "set", "bridge", "up")
        for host in found:
            stack.callback(host.remove)
            host.plug_in("".join(f"{host.address} {host.name}\n" for host in found))
        log = folder / "sshd.log"
        for host in found[1:]:
            daemon = subprocess.Popen(_sshd(host, folder), stdout=log.open("a"), stderr=subprocess.STDOUT)
            stack.callback(daemon.wait)
            stack.callback(daemon.kill)
        _wait_until(lambda: log.read_text().count("listening") == COUNT - 1)
        yield Hosts(found, key, log)


def _sshd(host: Host, folder: Path) -> list[str]:
    Path("/run/sshd").mkdir(exist_ok=True)
    options = {
        "HostKey": folder / "host_key",
        "AuthorizedKeysFile": folder / "key.pub",
        "ListenAddress": host.address,
        "Port": PORT,
        "StrictModes": "no",
        "PidFile": "none",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return host.inside("/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", *words)


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
