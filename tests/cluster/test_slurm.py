"""docker/slurm/train.sbatch under a real SLURM: its controller, and two nodes with addresses and sshd of their own.

Debian's slurmctld and slurmd, without munge and control groups; the GPUs that SLURM counts here are none.
"""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.jobs.commands import Place, environment
from tests.jobs.hosts import Host, reached_by_ssh, switched

pytestmark = pytest.mark.processes
PORT, PATIENCE_S = 2222, 150
SSH_CONFIG = "UserKnownHostsFile /dev/null\nLogLevel ERROR\nPort {port}\nIdentityFile {folder}/key\n"
SLURM_CONF = """
ClusterName=strata
SlurmctldHost=node1
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=5  # and so a job that is queued again begins after 6 seconds
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
SelectType=select/cons_tres
GresTypes=gpu
NodeName=node[1-2] CPUs=2 Gres=gpu:1
PartitionName=all Nodes=ALL Default=YES
"""
OTHER_FILES = {"cgroup.conf": "CgroupPlugin=cgroup/v1\n", "gres.conf": "Name=gpu File=/dev/null\n"}


@dataclass(frozen=True)
class Slurm:
    folder: Path
    """Its files, and the clone from which jobs are submitted."""
    nodes: list[Host]
    place: Place

    def __call__(self, *command: object, **variables: str) -> str:
        """What a command of SLURM's prints on the first node."""
        words, given = self.nodes[0].inside(*command), self.environment | variables
        return subprocess.run(
            words, cwd=self.clone, env=given, text=True, stdout=subprocess.PIPE, check=True
        ).stdout  # fmt: skip

    @property
    def clone(self) -> Path:
        return self.folder / "clone"

    @property
    def environment(self) -> dict[str, str]:
        others = {name: value for name, value in environment().items() if not name.startswith(("SLURM_", "STRATA_"))}
        return others | {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def submit(self, *options: str, settings: Sequence[str], **variables: str) -> str:
        """The number of a job that trains on both nodes."""
        training = self.place.train_command(1, *settings)
        arguments = training[training.index("jobs/train.py") + 1 :]
        said = self("sbatch", "--nodes", "2", *options, "docker/slurm/train.sbatch", *arguments, **variables)
        return said.split()[-1]

    def state(self, job: str) -> dict[str, str]:
        return dict(word.split("=", 1) for word in self("scontrol", "show", "job", job).split() if "=" in word)

    def log(self, job: str) -> str:
        file = self.clone / f"strata-{job}.log"
        return file.read_text() if file.exists() else ""

    def wait(self, job: str, until: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not until():
            assert time.monotonic() < deadline, f"{self.state(job)}\n{self.log(job)}"
            time.sleep(0.2)

    def ended(self, job: str) -> bool:
        return self.state(job)["JobState"] in ("COMPLETED", "FAILED", "CANCELLED")


def linked_clone(folder: Path) -> None:
    """With the virtual environment that runs the tests, wherever that lies."""
    folder.mkdir()
    for name in ("conf", "docker", "jobs", "models", "pipelines"):
        (folder / name).symlink_to(REPOSITORY / name)
    (folder / ".venv").symlink_to(sys.prefix)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    if not all(map(shutil.which, ("slurmctld", "slurmd", "sbatch"))):
        pytest.skip("needs Debian's slurmctld, slurmd and slurm-client")
    folder = tmp_path_factory.mktemp("slurm")
    with ExitStack() as stack:
        nodes = stack.enter_context(switched({"node1": (), "node2": ()}, SSH_CONFIG.format(port=PORT, folder=folder)))
        stack.enter_context(reached_by_ssh(nodes, folder, PORT))
        linked_clone(folder / "clone")
        for name in ("state", "node1", "node2"):
            (folder / name).mkdir()
        for name, text in (OTHER_FILES | {"slurm.conf": SLURM_CONF.format(folder=folder)}).items():
            (folder / name).write_text(text)
        slurm = Slurm(folder, nodes, Place(folder))
        daemons = [(nodes[0], ["slurmctld"]), *((node, ["slurmd", "-N", node.name]) for node in nodes)]
        for host, words in daemons:
            with (folder / f"{host.name}-{words[0]}.log").open("wb") as log:
                command = host.inside(*words, "-D")
                process = subprocess.Popen(command, env=slurm.environment, stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.terminate)
        slurm.place.preprocess()
        deadline = time.monotonic() + PATIENCE_S
        while slurm("sinfo", "--noheader", "--states=idle", "--format=%D") != "2\n":
            assert time.monotonic() < deadline, [path.read_text() for path in folder.glob("node*.log")]
            time.sleep(0.2)
        yield slurm


def test_a_job_trains_on_its_nodes_and_is_queued_again_before_its_time_is_up(slurm: Slurm) -> None:
    job = slurm.submit("--gpus-per-node", "1", settings=("epochs=8",))
    slurm.wait(job, lambda: slurm.place.checkpoints() or slurm.ended(job))
    slurm("scancel", "--batch", "--signal", "TERM", job)  # what --signal of the script asks for
    slurm.wait(job, lambda: slurm.state(job)["Restarts"] == "1" or slurm.ended(job))
    slurm.wait(job, lambda: slurm.ended(job))
    log = slurm.log(job)
    assert slurm.state(job)["JobState"] == "COMPLETED", log
    assert log.count("train.sbatch: 2 workers on node1:1,node2:1\n") == 2
    assert f"Accepted publickey for root from {slurm.nodes[0].address}" in (slurm.folder / "sshd.log").read_text()
    stopped = re.search(r"stopped by SIGTERM after step (\d+); the same command goes on", log)
    assert stopped, log
    assert re.search(rf"going on after epoch \d of 8, step {stopped[1]}, ", log[stopped.end() :]), log
    assert slurm.place.checkpoints()[-1].name == "epoch-0008.pt"


def test_a_training_that_fails_fails_its_job_and_is_not_queued_again(slurm: Slurm) -> None:
    job = slurm.submit("--gpus-per-node", "0", settings=("epochs=many",), STRATA_SLOTS="1")
    slurm.wait(job, lambda: slurm.ended(job))
    assert "error: command line: epochs = 'many'" in slurm.log(job)
    assert (slurm.state(job)["JobState"], slurm.state(job)["Restarts"]) == ("FAILED", "0")


def test_a_job_that_is_cancelled_saves_and_is_not_queued_again(slurm: Slurm) -> None:
    job = slurm.submit("--gpus-per-node", "1", settings=("epochs=200", "name=cancelled"))
    slurm.wait(job, lambda: "epoch 1/200" in slurm.log(job))
    slurm("scancel", job)
    slurm.wait(job, lambda: slurm.ended(job))
    slurm.wait(job, lambda: "stopped by SIGTERM after step" in slurm.log(job) or slurm.state(job)["Restarts"] != "0")
    assert (slurm.state(job)["JobState"], slurm.state(job)["Restarts"]) == ("CANCELLED", "0")
