"""docker/slurm/train.sbatch with stand-ins for SLURM, ssh and horovodrun: the hosts it finds, and how it ends."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import REPOSITORY

PATIENCE_S = 30
SCRIPT = REPOSITORY / "docker" / "slurm" / "train.sbatch"
SCONTROL = """#!/bin/sh
echo "scontrol $*" >> "$CALLS"
[ "$1" = show ] && printf 'node1\\nnode2\\nnode10\\n'
exit 0
"""
SQUEUE = "#!/bin/sh\necho $STATE\n"
SSH = """#!/bin/sh
case "$*" in *"$DEAD"*) [ -n "$DEAD" ] && exit 255 ;; esac
echo "ssh $*" >> "$CALLS"
"""
# Its worker is in a session of its own, as with Horovod.
HOROVODRUN = """#!/bin/bash
echo "horovodrun $*" >> "$CALLS"
echo "its last word is ${@: -1}" >> "$CALLS"
trap 'echo "horovodrun was told" >> "$CALLS"' TERM
[ -n "$ENDS_WITH" ] && exit "$ENDS_WITH"
cd "$(dirname "$0")/../.." && setsid --wait .venv/bin/python jobs/train.py some.yaml
"""
TRAIN = """import os, signal, sys, time
def say(text):
    with open(os.environ["CALLS"], "a") as calls:
        calls.write(text + chr(10))
def told(*_):
    say("the worker was told")
    sys.exit(143)
signal.signal(signal.SIGTERM, told)
say("the worker trains")
time.sleep(30)
"""


@pytest.fixture
def clone(tmp_path):
    """A folder with a .venv, beside the commands of a node."""
    commands = {
        ".venv/bin/horovodrun": HOROVODRUN, "jobs/train.py": TRAIN, "bin/scontrol": SCONTROL,
        "bin/squeue": SQUEUE, "bin/ssh": SSH,
    }  # fmt: skip
    for name, text in commands.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    return tmp_path


def start(clone, *arguments, **variables):
    given = {
        "PATH": f"{clone / 'bin'}{os.pathsep}{os.environ['PATH']}", "CALLS": str(clone / "calls"), "DEAD": "",
        "ENDS_WITH": "", "STATE": "RUNNING",
        "SLURM_SUBMIT_DIR": str(clone), "SLURM_JOB_NODELIST": "node[1-2,10]", "SLURM_JOB_ID": "77",
        "SLURM_GPUS_ON_NODE": "4",
    }  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "STRATA_"))}
    return subprocess.Popen(
        ["bash", SCRIPT, *arguments], env=environment | given | variables, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def run(clone, *arguments, status=0, **variables):
    process = start(clone, *arguments, **variables)
    printed = process.communicate(timeout=PATIENCE_S)[0]
    assert process.returncode == status, printed
    return printed


def calls(clone):
    file = clone / "calls"
    return file.read_text() if file.exists() else ""


def test_a_worker_for_each_gpu_of_each_node_with_all_arguments(clone):
    run(clone, "conf/train/x.yaml", "name=a b", ENDS_WITH="0")
    hosts = "node1:4,node2:4,node10:4"
    assert f"horovodrun -np 12 -H {hosts} python jobs/train.py conf/train/x.yaml name=a b\n" in calls(clone)
    assert "its last word is name=a b\n" in calls(clone)
    asked = [line for line in calls(clone).splitlines() if line.startswith("ssh")]
    assert [any(f" {node} " in line for line in asked) for node in ("node1", "node2", "node10")] == [False, True, True]


def test_more_words_reach_horovodrun(clone):
    run(clone, "x.yaml", ENDS_WITH="0", STRATA_HOROVODRUN="--network-interface ib0")
    assert "horovodrun --network-interface ib0 -np 12 " in calls(clone)


def test_nodes_without_gpus_have_as_many_workers_as_they_are_given(clone):
    run(clone, "x.yaml", ENDS_WITH="0", SLURM_GPUS_ON_NODE="0", STRATA_SLOTS="2")
    assert "horovodrun -np 6 -H node1:2,node2:2,node10:2 " in calls(clone)
    assert "STRATA_SLOTS" in run(clone, "x.yaml", status=2, SLURM_GPUS_ON_NODE="0")


def test_a_node_that_ssh_does_not_reach_is_named_before_anything_starts(clone):
    printed = run(clone, "x.yaml", status=2, DEAD="node10")
    assert "node10 is not reached by ssh without a password" in printed
    assert "horovodrun -np" not in calls(clone)


def test_what_is_missing_is_named(clone):
    assert "give the file of a training" in run(clone, status=2)
    (clone / ".venv" / "bin" / "horovodrun").unlink()
    assert "has no .venv" in run(clone, "x.yaml", status=2)


def test_a_training_that_fails_fails_the_job_and_is_not_queued_again(clone):
    run(clone, "x.yaml", status=3, ENDS_WITH="3")
    assert "requeue" not in calls(clone)


@pytest.mark.parametrize(("state", "queued"), [("RUNNING", True), ("COMPLETING", False), ("", False)])
def test_before_its_time_is_up_the_workers_are_told_and_a_job_that_was_not_cancelled_is_queued_again(
    clone, state, queued
):
    process = start(clone, "x.yaml", STATE=state)
    deadline = time.monotonic() + PATIENCE_S
    while "the worker trains" not in calls(clone):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    printed = process.communicate(timeout=PATIENCE_S)[0]
    assert "the worker was told" in calls(clone), printed
    assert "horovodrun was told" not in calls(clone)
    assert ("scontrol requeue 77" in calls(clone)) == queued
    assert (process.returncode == 0) == queued
