import pytest
import torch

from pipelines.config import ElasticSettings, InputError, TrainSettings
from pipelines.training.checkpoint import Checkpoint, save
from pipelines.training.elastic import FUTILE_RESETS, Elastic, check_lanes, check_network
from pipelines.training.recovery import WorkersChanged
from pipelines.training.stopping import STATUS


def checkpoint(epoch, step):
    return Checkpoint(epoch, step, [0.0, 0.0, 0.0], {}, {}, torch.get_rng_state(), [], None, {})


def position(content):
    found = Checkpoint.from_bytes(content, "it")
    return found.epoch, found.step


def settings(**changes):
    return ElasticSettings(**changes)


def test_it_goes_on_from_memory_or_from_disk_whichever_is_newer(tmp_path):
    recovery = Elastic(settings())
    assert recovery.newest(tmp_path) == b""
    recovery.commit(checkpoint(1, 12))
    assert position(recovery.newest(tmp_path)) == (1, 12)
    save(checkpoint(1, 10), tmp_path)
    assert position(recovery.newest(tmp_path)) == (1, 12)
    save(checkpoint(2, 20), tmp_path)
    assert position(recovery.newest(tmp_path)) == (2, 20)


def test_commits_are_due_every_so_many_steps():
    recovery = Elastic(settings(commit_every_steps=5))
    assert [step for step in range(1, 16) if recovery.commits_after(step)] == [5, 10, 15]


def test_a_reset_forgets_the_hosts_that_changed_before_it():
    recovery = Elastic(settings())
    recovery.on_hosts_updated(1, 2)
    assert recovery.hosts_changed()
    recovery.reset("")
    assert not recovery.hosts_changed()


def test_a_worker_that_was_told_to_end_does_and_the_others_stay():
    with pytest.raises(SystemExit) as ended:
        Elastic(settings()).leave(3, rank=1, told=True)
    assert ended.value.code == STATUS
    with pytest.raises(WorkersChanged):
        Elastic(settings()).leave(3, rank=0, told=False)


def test_resets_without_progress_come_to_an_end():
    recovery = Elastic(settings())
    for step in range(2 * FUTILE_RESETS):
        recovery.commit(checkpoint(0, step))
        recovery.reset("")
    for _ in range(FUTILE_RESETS - 1):
        recovery.reset("")
    with pytest.raises(InputError, match=r"lost 10 times in a row .* the last time: a reason"):
        recovery.reset("a reason")


def test_a_network_that_others_reach_must_be_trusted_expressly():
    check_network(settings(), "127.0.0.1")
    check_network(settings(trusted_network=True), "10.0.0.5")
    with pytest.raises(InputError, match=r"over 10\.0\.0\.5.*CVE-2024-10190.*--network-interface lo.*trusted_network"):
        check_network(settings(), "10.0.0.5")


def test_a_number_of_workers_that_cannot_share_the_lanes_is_named():
    of = TrainSettings.model_validate({"dataset": "d", "model": {"name": "m"}, "loader": {"lanes": 8}})
    check_lanes(of, 4)
    with pytest.raises(InputError, match=r"3 workers, which cannot share loader\.lanes = 8"):
        check_lanes(of, 3)
