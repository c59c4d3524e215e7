"""Faults, injected for real into jobs/train.py under horovodrun, in static and in elastic mode."""

import os
import re
import signal

import psutil
import pytest
import torch

from benchmarks.faults import ENDS_WITHIN_S
from benchmarks.faults_training import Training, kept, redone, samples_of
from tests.conftest import REPOSITORY
from tests.jobs.commands import Place, environment

pytestmark = pytest.mark.processes
STATIC = ("horovodrun", "-np", "2")
HANG = ("horovod.stall_check_s=1", "horovod.stall_shutdown_s=15")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = Place(tmp_path_factory.mktemp("faults"))
    place.preprocess()
    return place


@pytest.fixture
def training(place, tmp_path, monkeypatch):
    """A function: the settings and the launcher to a Training that is launched, and ended with the test."""
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setenv("PATH", environment()["PATH"])
    begun = []

    def launched(name, launcher, *settings):
        conf = "conf/train/lenet5_digits.yaml"
        begun.append(Training(tmp_path / name, list(launcher), [conf, f"dataset={place.dataset}", *settings]))
        begun[-1].launch()
        return begun[-1]

    yield launched
    for one in begun:
        one.kill_all()


def last_step(training):
    return max((one.step for one in samples_of(training.runs)), default=0)


def workers_together(training):
    """How many did the newest step."""
    samples = samples_of(training.runs)
    return sum(1 for one in samples if (one.step, one.together) == (samples[-1].step, samples[-1].together))


def test_a_worker_that_hangs_ends_the_training_and_the_same_command_goes_on(training):
    job = training("hangs", STATIC, "epochs=8", *HANG)
    assert job.wait_until(lambda: last_step(job) >= 10)
    workers = job.workers()
    workers[1].send_signal(signal.SIGSTOP)
    assert job.status()
    assert "error: worker 0: another worker ended or cannot be reached any more" in job.printed()
    _, left_running = psutil.wait_procs(workers, timeout=ENDS_WITHIN_S)
    assert not left_running, "horovodrun kills who does not end"
    job.launch()
    assert job.status() == 0, job.printed()
    assert re.search(r"going on after epoch \d of 8", job.printed())


def test_workers_whose_launcher_is_killed_save_and_end_and_the_same_command_goes_on_at_once(training):
    job = training("orphans", STATIC, "epochs=12")
    assert job.wait_until(lambda: last_step(job) >= 10)
    orphans = job.workers()
    job.process.kill()
    job.launch()
    assert job.status() == 0, job.printed()
    assert "going on after epoch" in job.printed()
    assert redone(samples_of(job.runs)) <= 2  # they saved, though they can no longer say so
    _, left_running = psutil.wait_procs(orphans, timeout=ENDS_WITHIN_S)
    assert not left_running


def test_elastic_training_gains_and_loses_workers_rank_0_too_and_keeps_the_order_of_samples(training, tmp_path):
    settings = ("epochs=30", "optimizer.lr=0.002", "checkpoint_every_steps=50", "elastic.commit_every_steps=3")
    settings += ("horovod.cycle_time_ms=5", "horovod.fusion_threshold_mb=8")  # both are set anew at each new start
    alone = training("alone", ["horovodrun", "-np", "1"], *settings)
    assert alone.status() == 0, alone.printed()

    hosts, script = tmp_path / "hosts", tmp_path / "discover.sh"
    hosts.write_text("localhost:1\n")
    script.write_text(f"#!/bin/sh\ncat {hosts}\n")
    script.chmod(0o755)
    one_core = ["taskset", "-c", str(min(os.sched_getaffinity(0)))]  # two workers of two names would each take all
    launcher = [*one_core, "horovodrun", "-np", "1", "--min-np", "1", "--max-np", "2", "--network-interface", "lo"]
    launcher += ["--host-discovery-script", str(script)]
    job = training("elastic", launcher, *settings)
    assert job.wait_until(lambda: last_step(job) >= 5), job.printed()
    hosts.write_text("localhost:1\n127.0.0.1:1\n")
    assert job.wait_until(lambda: workers_together(job) == 2), job.printed()
    job.workers()[0].kill()
    hosts.write_text("127.0.0.1:1\n127.1:1\n")  # another name of this host: the lost worker's is not used again
    assert job.wait_until(lambda: workers_together(job) == 1), job.printed()
    assert job.wait_until(lambda: workers_together(job) == 2), job.printed()
    assert job.status() == 0, job.printed()

    assert kept(samples_of(job.runs)) == kept(samples_of(alone.runs))
    torch.testing.assert_close(job.weights(), alone.weights(), rtol=1e-3, atol=1e-5)
