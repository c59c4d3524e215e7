import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from itertools import repeat

import pytest
import torch
from horovod.runner.common.util import codec
from horovod.runner.elastic.rendezvous import create_rendezvous_handler
from horovod.runner.http.http_server import RendezvousHandler, RendezvousHTTPServer

from pipelines.config import ElasticSettings, InputError
from pipelines.training.checkpoint import Checkpoint, newest_first, save
from pipelines.training.elastic import FUTILE_RESETS, Elastic, all_there, check_network, wait_for_a_number_that_fits
from pipelines.training.recovery import WorkersChanged
from pipelines.training.stopping import STATUS
from pipelines.training.workers import Solo
from tests.hostile import Hostile
from tests.pipelines.training.test_loop import Batches, trainer


def checkpoint(epoch, step):
    return Checkpoint(epoch, step, [0.0, 0.0, 0.0], {}, {}, [], None, {})


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
        Elastic(settings()).leave(3, rank=1, told="SIGTERM")
    assert ended.value.code == STATUS
    with pytest.raises(WorkersChanged):
        Elastic(settings()).leave(3, rank=0, told="")


def test_resets_without_progress_come_to_an_end():
    recovery = Elastic(settings())
    for step in range(2 * FUTILE_RESETS):
        recovery.commit(checkpoint(0, step))
        recovery.reset("")
    for _ in range(FUTILE_RESETS - 1):
        recovery.reset("")
    with pytest.raises(InputError, match=r"lost 10 times in a row .* the last time: a reason"):
        recovery.reset("a reason")


@pytest.mark.attack
def test_a_network_that_others_reach_must_be_trusted_expressly():
    check_network(settings(), "127.0.0.1")
    check_network(settings(trusted_network=True), "10.0.0.5")
    with pytest.raises(InputError, match=r"over 10\.0\.0\.5.*CVE-2024-10190.*--network-interface lo.*trusted_network"):
        check_network(settings(), "10.0.0.5")


@dataclass
class Three(Solo):
    """Three workers, of which this process is one; `sums` says what becomes of each sum."""

    size: int = 3
    sums: Iterator[float] = field(default_factory=lambda: repeat(0.0))

    def sum(self, values):
        return values + next(self.sums)


def test_workers_whose_number_does_not_divide_the_lanes_wait_for_others(capsys):
    wait_for_a_number_that_fits(6, Three(), Elastic(settings()))
    assert not capsys.readouterr().out
    with pytest.raises(WorkersChanged):
        wait_for_a_number_that_fits(4, Three(sums=iter([0.0, 1.0])), Elastic(settings()))
    assert "3 workers cannot share loader.lanes = 4 evenly: waiting up to 600 s" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"3 workers cannot share .* no others joined or left in 1 s"):
        wait_for_a_number_that_fits(4, Three(), Elastic(settings()), patience_s=1)


@pytest.fixture
def launcher(monkeypatch):
    """The store of Horovod's launcher, which the environment points to."""
    server = RendezvousHTTPServer(("127.0.0.1", 0), RendezvousHandler, 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("HOROVOD_GLOO_RENDEZVOUS_ADDR", "127.0.0.1")
    monkeypatch.setenv("HOROVOD_GLOO_RENDEZVOUS_PORT", str(server.server_port))
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_workers_wait_until_the_last_of_them_has_started(launcher, monkeypatch):
    def here(rank):
        monkeypatch.setenv("HOROVOD_RANK", str(rank))
        monkeypatch.setenv("HOROVOD_SIZE", "2")
        return all_there(patience_s=0.3)

    assert [here(0), here(1), here(0), here(1)] == [False, False, True, True]
    launcher.init([])  # as when workers change
    assert not here(0)


def test_a_launcher_that_is_gone_is_an_error_that_says_how_to_go_on(monkeypatch):
    monkeypatch.setenv("HOROVOD_GLOO_RENDEZVOUS_ADDR", "127.0.0.1")
    monkeypatch.setenv("HOROVOD_GLOO_RENDEZVOUS_PORT", "1")
    monkeypatch.setenv("HOROVOD_RANK", "0")
    monkeypatch.setenv("HOROVOD_SIZE", "1")
    with pytest.raises(InputError, match="the launcher answers no more; the same command goes on"):
        all_there()


class Disturbed(Batches):
    """Does something before a step is given."""

    def __init__(self, step, disturb):
        self.step, self.disturb = step, disturb

    def epochs(self, epochs, start_step=0):
        first = epochs.start * self.steps_per_epoch + start_step
        for step, batch in enumerate(super().epochs(epochs, start_step), start=first):
            if step == self.step:
                self.disturb()
            yield batch


def lose():
    raise ConnectionError("another worker was lost")


@pytest.mark.parametrize("changes", [{}, {"ema_decay": 0.99}, {"precision": "float16"}], ids=str)
def test_built_anew_after_workers_were_lost_and_joined_it_ends_with_the_weights_of_an_undisturbed_training(
    tmp_path, changes
):
    undisturbed = trainer(tmp_path / "undisturbed", **changes)
    undisturbed.fit()
    recovery, done = Elastic(settings(commit_every_steps=2)), []
    for step, disturb, error in (
        (8, lose, ConnectionError),
        (11, lambda: recovery.on_hosts_updated(0, 0), WorkersChanged),
    ):
        ours = trainer(tmp_path / "ours", **changes)
        ours.loader, ours.recovery = Disturbed(step, disturb), recovery
        with pytest.raises(error):
            ours.fit()
        done.append(position(recovery.newest(ours.checkpoints)))
        recovery.reset("")
    assert done == [(1, 8), (2, 13)]  # the last commit; a step after the one in which hosts changed, as with SIGTERM
    assert newest_first(tmp_path / "ours")[0].name == "epoch-0002-step-00000013.pt"
    ours = trainer(tmp_path / "ours", **changes)
    ours.recovery = recovery
    ours.fit()
    torch.testing.assert_close(ours.model.state_dict(), undisturbed.model.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(ours.average.state_dict(), undisturbed.average.state_dict(), rtol=0, atol=0)


@pytest.mark.attack
@pytest.mark.parametrize(("handler", "runs"), [(RendezvousHandler, False), (create_rendezvous_handler(None), True)])
def test_horovods_store_runs_what_it_is_sent_in_elastic_mode_and_in_no_other(tmp_path, handler, runs):
    """Why elastic mode needs a word first: this is Horovod's own code, on loopback, and the pickle makes a file."""
    trap = tmp_path / "sprung"
    server = RendezvousHTTPServer(("127.0.0.1", 0), handler, verbose=False)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        for scope in ("worker_addresses", "global", "runfunc", "local_host", "cross_0"):
            with contextlib.closing(HTTPConnection(*server.server_address, timeout=10)) as connection:
                body = codec.dumps_base64(Hostile(trap), to_ascii=False)
                connection.request("PUT", f"/{scope}/host:0", body)
                with contextlib.suppress(ConnectionError, HTTPException):
                    connection.getresponse().read()
                connection.request("GET", f"/{scope}/host:0")
                with contextlib.suppress(ConnectionError, HTTPException):
                    connection.getresponse().read()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert trap.exists() == runs
