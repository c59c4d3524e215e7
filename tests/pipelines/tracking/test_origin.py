import os
import subprocess

import pytest

from pipelines.tracking import origin
from pipelines.tracking.origin import Host, origin_tags

HOSTS = [
    Host(name="a", processor="EPYC", cores=96, gpus=["H100", "H100"]),
    Host(name="b", processor="EPYC", cores=96, gpus=["H100", "H100"]),
    Host(name="c", processor="Xeon", cores=4),
]


def test_hosts_are_counted_by_kind():
    tags = origin_tags(HOSTS, 9)
    assert tags["strata.hosts"] == "2 x (EPYC, 96 cores, 2 x H100); 1 x (Xeon, 4 cores)"
    assert tags["strata.workers"] == "9"
    assert tags["strata.version"]


def test_this_host_is_described():
    host = Host.this()
    assert host.processor
    assert host.cores == len(os.sched_getaffinity(0))


@pytest.fixture
def clone(tmp_path, monkeypatch):
    def git(*words):
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        subprocess.run(["git", "-C", str(tmp_path), *identity, *words], check=True, capture_output=True)

    git("init")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-m", "one")
    monkeypatch.setattr(origin, "REPOSITORY", tmp_path)
    return tmp_path


def test_the_commit_is_named_and_whether_the_code_was_changed_since(clone):
    head = subprocess.run(["git", "-C", str(clone), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    tags = origin_tags(HOSTS, 1)
    assert tags["mlflow.source.git.commit"] == head.stdout.strip()
    assert tags["strata.git_changed"] == "false"
    (clone / "file").write_text("2")
    assert origin_tags(HOSTS, 1)["strata.git_changed"] == "true"


def test_code_that_is_no_clone_and_a_machine_without_git_are_no_mistake(tmp_path, monkeypatch, clone):
    monkeypatch.setenv("PATH", "")
    assert "mlflow.source.git.commit" not in origin_tags(HOSTS, 1)
    monkeypatch.undo()
    monkeypatch.setattr(origin, "REPOSITORY", tmp_path.parent)
    assert "mlflow.source.git.commit" not in origin_tags(HOSTS, 1)
