"""The services of docker/compose.yaml as plain processes, on hosts of their names, with the shipped files themselves.

PostgreSQL is Debian's, and moto stands for MinIO; everything else is what the images run.
"""

import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp

import psutil
import pytest

from tests.conftest import REPOSITORY
from tests.docker.compose import Service, new_secrets, services
from tests.jobs.commands import environment
from tests.jobs.hosts import Host, switched

PATIENCE_S = 150
HOSTS = {"services": ("database", "store", "mlflow", "spark-master", "submit"), "training-1": (), "training-2": ()}


def postgres_programs() -> Path:
    """The folder of initdb and postgres; the test is skipped where there is none, or no user to run them."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        folders = []
    if not folders:
        pytest.skip("needs Debian's postgresql package")
    return folders[-1]


@dataclass
class Stack:
    folder: Path
    hosts: dict[str, Host]
    secrets: dict[str, str]
    services: dict[str, Service]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def environment(self, name: str, **more: str) -> dict[str, str]:
        """Of a service: what a shell has after activation, and what compose.yaml sets."""
        usual = {key: value for key, value in environment().items() if key not in ("SPARK_LOCAL_IP", "PYTHONWARNINGS")}
        java = {"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}
        return usual | java | self.services[name].environment | more

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def start(self, name: str, host: str, *command: object, service: str = "", **more: str) -> None:
        """A service on a host: what its image runs, unless a command is given."""
        words = list(map(str, command)) or self.services[service or name].command
        with self.log(name).open("ab") as sink:
            self.processes[name] = subprocess.Popen(
                self.hosts[host].inside(*words), cwd=REPOSITORY, env=self.environment(service or name, **more),
                stdout=sink, stderr=sink,
            )  # fmt: skip

    def wait_healthy(self, name: str, host: str, *check: str, service: str = "", **more: str) -> None:
        """Until its health check says so, which is the one of compose.yaml unless another is given."""
        words = self.hosts[host].inside(*(check or self.services[service or name].healthcheck))
        variables = self.environment(service or name, **more)
        deadline = time.monotonic() + PATIENCE_S
        while subprocess.run(words, cwd=REPOSITORY, env=variables, capture_output=True, check=False).returncode:
            assert self.processes[name].poll() is None, f"{name} ended:\n{self.log(name).read_text()[-3000:]}"
            assert time.monotonic() < deadline, f"{name} is not healthy:\n{self.log(name).read_text()[-3000:]}"
            time.sleep(0.3)

    def run(self, service: str, host: str, *command: object, status: int | None = 0, **more: str) -> str:
        """What a command prints in such a container; an AssertionError with it if it ends with another status."""
        entry = self.services[service].command[:1] if service == "submit" else []
        process = subprocess.run(
            self.hosts[host].inside(*entry, *command), cwd=REPOSITORY, env=self.environment(service, **more),
            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        assert status in (None, process.returncode), f"{command}: status {process.returncode}\n{process.stdout}"
        return process.stdout

    def kill_all(self) -> None:
        for name in list(self.processes):
            self.kill(name)

    def kill(self, name: str) -> None:
        """With all that it started."""
        process = self.processes.pop(name)
        if process.poll() is None:
            for member in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
                try:
                    member.kill()
                except psutil.NoSuchProcess:
                    continue
        process.wait()


@contextmanager
def running(folder: Path) -> Iterator[Stack]:
    """All services, healthy."""
    programs = postgres_programs()
    secrets = new_secrets()
    scratch = folder / "scratch"
    scratch.mkdir()
    places = {"/opt/strata/work": folder / "work", "/opt/strata": REPOSITORY}
    found = services(secrets, places | {"/scratch": scratch})
    shipped = (REPOSITORY / "docker" / "ssh_config").read_text()
    keys = folder / "keys"
    keys.mkdir()
    with ExitStack() as exits:
        hosts = exits.enter_context(switched(HOSTS, f"IdentityFile {keys}/id_ed25519\n{shipped}"))
        stack = Stack(folder, {host.name: host for host in hosts}, secrets, found)
        exits.callback(stack.kill_all)
        data = Path(mkdtemp(prefix="strata-postgres-"))  # pytest's own folders are closed to the database's user
        exits.callback(shutil.rmtree, data, ignore_errors=True)
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd asks for it where it is started by root
        start_database(stack, programs, data)
        start_store(stack)
        stack.start("mlflow", "services")
        stack.start("spark-master", "services")
        stack.wait_healthy("spark-master", "services")
        for number in (1, 2):
            stack.start(f"spark-worker-{number}", f"training-{number}", service="spark-worker")
            stack.start(f"training-{number}", f"training-{number}", STRATA_SSH_KEYS=str(keys))
            stack.wait_healthy(f"training-{number}", f"training-{number}")
        stack.wait_healthy("spark-worker-1", "training-1", service="spark-worker")
        stack.wait_healthy("spark-worker-2", "training-2", service="spark-worker")
        stack.wait_healthy("mlflow", "services")
        yield stack


def start_database(stack: Stack, programs: Path, data: Path) -> None:
    """As the image does: the user, its password and the database of the variables, and passwords from everywhere."""
    given = stack.services["database"].environment
    password = data / "password"
    password.write_text(given["POSTGRES_PASSWORD"])
    for path in (data, password):
        shutil.chown(path, "postgres", "postgres")
    as_user = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
    make = [str(programs / "initdb"), "-D", f"{data}/data", "-U", given["POSTGRES_USER"], f"--pwfile={password}"]
    with stack.log("initdb").open("wb") as log:
        subprocess.run([*as_user, *make, "-A", "scram-sha-256", "-E", "UTF8", "-N"], stdout=log, stderr=log, check=True)
    with (data / "data" / "pg_hba.conf").open("a") as rules:
        rules.write("host all all all scram-sha-256\n")
    stack.start(
        "database", "services", *as_user, programs / "postgres", "-D", data / "data", "-h", "*", "-k", data, "-F"
    )
    given.update(PGHOST="database", PGUSER=given["POSTGRES_USER"], PGPASSWORD=given["POSTGRES_PASSWORD"])
    stack.wait_healthy("database", "services")
    stack.run("database", "services", programs / "createdb", given["POSTGRES_DB"])


def start_store(stack: Stack) -> None:
    stack.start("store", "services", "moto_server", "-H", "0.0.0.0", "-p", "9000")
    stack.wait_healthy("store", "services", "python3", f"{REPOSITORY}/docker/healthy.py", "http://store:9000/")
    stack.run("bucket", "services", *stack.services["bucket"].command)
