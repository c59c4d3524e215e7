"""Hosts for tests: network namespaces, each with its own name and address, on one switch.

Root, iproute2 and a kernel that makes namespaces are needed; tests that ask for hosts are skipped where one is missing.
"""

import ctypes
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

AS_HOST = 'hostname "$0" && exec "$@"'
SSH_CONFIG = "UserKnownHostsFile /dev/null\nLogLevel ERROR\n"
CLONE_NEWNET = 0x40000000
SSHD_PATIENCE_S = 60
T = TypeVar("T")


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

    def plug_in(self, names: str, ssh_config: str) -> None:
        """names: of all hosts, as in /etc/hosts."""
        own_etc = Path("/etc/netns") / self.namespace
        (own_etc / "ssh").mkdir(parents=True)
        (own_etc / "hosts").write_text(f"127.0.0.1 localhost\n{names}")
        (own_etc / "ssh" / "ssh_config").write_text(ssh_config)
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

    def call(self, function: Callable[[], T]) -> T:
        """What the function returns when a thread calls it whose sockets are this host's."""
        with ThreadPoolExecutor(1, initializer=self._enter) as thread:
            return thread.submit(function).result()

    def _enter(self) -> None:
        with Path("/run/netns", self.namespace).open() as place:
            if ctypes.CDLL(None, use_errno=True).setns(place.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")

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


@contextmanager
def switched(names: Mapping[str, Sequence[str]], ssh_config: str = SSH_CONFIG) -> Iterator[list[Host]]:
    """Hosts of these names that see each other and nothing else. names: of each host, what else it is called."""
    if os.geteuid() or not (shutil.which("ip") and Path("/usr/sbin/sshd").exists()):
        pytest.skip("needs root, iproute2 and openssh-server")
    mark = f"strata{os.getpid()}"
    switch = f"{mark}-switch"
    hosts = [Host(name, f"10.213.77.{n}", f"{mark}-{n}", switch) for n, name in enumerate(names, start=1)]
    with ExitStack() as stack:
        try:
            ip("netns", "add", switch)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"this kernel makes no network namespaces here: {error.stderr.decode().strip()}")
        stack.callback(ip, "netns", "del", switch)
        ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        ip("-n", switch, "link", "set", "bridge", "up")
        lines = [f"{host.address} {' '.join([host.name, *names[host.name]])}\n" for host in hosts]
        for host in hosts:
            stack.callback(host.remove)
            host.plug_in("".join(lines), ssh_config)
        yield hosts


@contextmanager
def reached_by_ssh(hosts: Sequence[Host], folder: Path, port: int) -> Iterator[tuple[Path, Path]]:
    """While they run sshd: the private key that opens them, and the daemons' log."""
    key, host_key, log = folder / "key", folder / "host_key", folder / "sshd.log"
    for path in (key, host_key):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    Path("/run/sshd").mkdir(exist_ok=True)  # asked for where root starts it
    options = [f"HostKey={host_key}", f"AuthorizedKeysFile={key}.pub", f"Port={port}", "StrictModes=no", "PidFile=none"]
    with ExitStack() as stack:
        for host in hosts:
            words = [word for option in (*options, f"ListenAddress={host.address}") for word in ("-o", option)]
            daemon = subprocess.Popen(
                host.inside("/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", *words),
                stdout=log.open("a"), stderr=subprocess.STDOUT,
            )  # fmt: skip
            stack.callback(daemon.wait)
            stack.callback(daemon.kill)
        deadline = time.monotonic() + SSHD_PATIENCE_S
        while log.read_text().count("listening") < len(hosts):
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield key, log
