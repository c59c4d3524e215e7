"""Training in horovodrun's elastic mode: built anew for the workers of the moment whenever some are lost or join.

Beside workers.py the only home of Horovod. Its own elastic states would be sent as pickles; here the state is a
checkpoint, which goes from rank 0 to the others as bytes that nobody unpickles.
"""

import gc
import ipaddress
import os
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import NoReturn

import torch

from pipelines.allocator import keep_freed_memory
from pipelines.config import ElasticSettings, InputError, TrainSettings
from pipelines.training.checkpoint import Checkpoint, newest_good
from pipelines.training.recovery import Recovery, WorkersChanged
from pipelines.training.stopping import STATUS
from pipelines.training.workers import HorovodWorkers, Workers, share_cores

FUTILE_RESETS = 10
"""So many in a row without a step that is kept, and the training ends."""

PATIENCE_S = 600
"""How long a number of workers that cannot train is borne; as long as horovodrun by itself bears too few."""

START_S = 300
"""How long a worker that the launcher has started may take until it can talk to the others."""

GATHER_S = 900
"""How long the launcher may take to gather all workers; it has 600 s itself to find enough hosts."""

_PLACE = tuple(f"HOROVOD_{name}" for name in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE", "CROSS_RANK", "CROSS_SIZE"))
"""A worker's place among all, in the order in which the launcher tells it."""

Train = Callable[[TrainSettings, Workers, Recovery], None]


class Elastic:
    """Recovery from the memory of the workers that are left, or from disk if that is newer."""

    def __init__(self, settings: ElasticSettings) -> None:
        self._every_steps = settings.commit_every_steps
        self._content = b""
        self._position = (-1, -1)
        self._position_at_reset = (-1, -1)
        self._futile_resets = 0
        self._hosts_changed = False

    def commits_after(self, step: int) -> bool:
        return step % self._every_steps == 0

    def commit(self, checkpoint: Checkpoint) -> None:
        self._content = checkpoint.to_bytes()
        self._position = (checkpoint.epoch, checkpoint.step)

    def newest(self, folder: Path) -> bytes:
        saved = newest_good(folder)
        if not self._content:
            return saved
        if saved:
            checkpoint = Checkpoint.from_bytes(saved, str(folder))
            if (checkpoint.epoch, checkpoint.step) > self._position:
                return saved
        return self._content

    def hosts_changed(self) -> bool:
        return self._hosts_changed

    def on_hosts_updated(self, timestamp: int, change: int) -> None:
        """Horovod calls this, in a thread of its own, on rank 0."""
        self._hosts_changed = True

    def leave(self, step: int, rank: int, told: str) -> NoReturn:
        if told:
            print(f"worker {rank}: stopped by SIGTERM after step {step}, which is saved", flush=True)
            sys.exit(STATUS)
        raise WorkersChanged(f"workers join or leave after step {step}")

    def reset(self, why: str) -> None:
        """Before the workers meet again. Raises InputError if they have done so in vain too often."""
        self._futile_resets = 0 if self._position > self._position_at_reset else self._futile_resets + 1
        self._position_at_reset = self._position
        if self._futile_resets == FUTILE_RESETS:
            raise InputError(
                f"workers were lost {FUTILE_RESETS} times in a row before elastic.commit_every_steps = "
                f"{self._every_steps} steps were done; the last time: {why}"
            )
        self._hosts_changed = False  # what changes from here on is either known when they meet or heard of again


def launched_elastic() -> bool:
    """Whether horovodrun started this process in its elastic mode."""
    return os.environ.get("HOROVOD_ELASTIC") == "1"


def train_elastic(settings: TrainSettings, train: Train) -> None:
    """Call `train` until it is through: again, with others to work with, whenever workers were lost, left or joined.

    Ends this process if it is no longer one of them.
    """
    check_network(settings.elastic, os.environ["HOROVOD_GLOO_RENDEZVOUS_ADDR"])
    from horovod.common.elastic import notification_manager
    from horovod.common.exceptions import HorovodInternalError

    recovery = Elastic(settings.elastic)
    notification_manager.init()
    notification_manager.register_listener(recovery)
    keep_freed_memory()
    workers = _meet(settings)
    while True:
        share_cores(workers)
        try:
            wait_for_a_number_that_fits(settings.loader.lanes, workers, recovery)
            return train(settings, workers, recovery)
        except WorkersChanged as change:
            why = str(change)
        except HorovodInternalError:
            why = "another worker was lost"
        print(f"worker {workers.rank} of {workers.size}: {why}; it waits for the launcher to gather all", flush=True)
        recovery.reset(why)
        settings = settings.model_copy(update={"fresh": False})
        del workers  # whose buckets hold the network
        gc.collect()  # network, optimizer and loaders refer to each other in circles
        workers = _meet_again(settings)


def check_network(settings: ElasticSettings, address: str) -> None:
    """Raises InputError if `address`, the launcher's, can be reached from other hosts and nobody said that is safe."""
    if not settings.trusted_network and not ipaddress.ip_address(address).is_loopback:
        raise InputError(
            f"elastic mode would talk over {address}, and Horovod's elastic launcher unpickles, and so runs, what "
            "anybody sends to its port (CVE-2024-10190). Start horovodrun with --network-interface lo to stay on this "
            "host, leave out --host-discovery-script for static mode, or set elastic.trusted_network=true if everybody "
            "on that network is trusted"
        )


def wait_for_a_number_that_fits(lanes: int, workers: Workers, recovery: Recovery, patience_s: int = PATIENCE_S) -> None:
    """Return if the workers can share an epoch's lanes evenly, else raise WorkersChanged once more or fewer are there.

    Raises InputError on all of them if that takes longer than `patience_s`.
    """
    if lanes % workers.size == 0:
        return
    problem = f"{workers.size} workers cannot share loader.lanes = {lanes} evenly"
    if workers.rank == 0:
        print(f"{problem}: waiting up to {patience_s} s for others to join or leave", flush=True)
    for _ in range(patience_s):
        if workers.sum(torch.tensor([float(recovery.hosts_changed())])) > 0:
            raise WorkersChanged("workers join or leave")
        time.sleep(1)
    raise InputError(
        f"{problem}, and no others joined or left in {patience_s} s. Give --min-np and --max-np, or a discovery "
        "script, for numbers that divide it; the same command then goes on from the newest checkpoint"
    )


def _meet(settings: TrainSettings) -> Workers:
    """The workers of now, in the places that the environment says, once all of them have started."""
    while not all_there():
        _take_place()  # one of them never started, and the launcher has noticed or will
    return HorovodWorkers(settings.horovod)


def _meet_again(settings: TrainSettings) -> Workers:
    """The same after workers were lost, left or joined; ends this process if it is none of them any more."""
    import horovod.torch as hvd

    hvd.shutdown()
    _take_place()
    # Horovod itself would ask the launcher, too, and abort the whole process where it has no place any more.
    os.environ["HOROVOD_ELASTIC"] = "0"
    try:
        return _meet(settings)
    finally:
        os.environ["HOROVOD_ELASTIC"] = "1"


def _take_place() -> None:
    """Wait until the launcher gives all its workers places anew; put this one's in the environment."""
    who = f"{os.environ['HOROVOD_HOSTNAME']}:{os.environ['HOROVOD_LOCAL_RANK']}"
    try:
        _, answer = _ask_launcher("GET", f"/rank_and_size/{who}")
    except TimeoutError:
        raise InputError(
            f"the launcher has not gathered its workers in {GATHER_S} s: one that it counts on hangs or was never "
            "started. End it, and horovodrun; the same command goes on from the newest checkpoint"
        ) from None
    place = dict(zip(_PLACE, answer.split(","), strict=True))
    if place["HOROVOD_RANK"] == "-1":
        print(f"this worker's host, {os.environ['HOROVOD_HOSTNAME']}, left the training, and so it ends", flush=True)
        sys.exit(STATUS)  # not 0, which the launcher might take for the training's success
    os.environ |= place


def all_there(patience_s: int = START_S) -> bool:
    """Whether all workers of now come here in time: Horovod aborts them if one has not started after 30 s."""
    rank, size = int(os.environ["HOROVOD_RANK"]), int(os.environ["HOROVOD_SIZE"])
    deadline = time.monotonic() + patience_s
    _ask_launcher("PUT", f"/strata/{rank}")
    for key in map(str, range(size)) if rank == 0 else ["all"]:  # the launcher forgets them when workers change
        while _ask_launcher("GET", f"/strata/{key}")[0] != HTTPStatus.OK:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
    if rank == 0:
        _ask_launcher("PUT", "/strata/all")
    return True


def _ask_launcher(method: str, path: str) -> tuple[int, str]:
    """Status and content of what its store, an HTTP server, answers; an InputError if it does not."""
    host, port = os.environ["HOROVOD_GLOO_RENDEZVOUS_ADDR"], int(os.environ["HOROVOD_GLOO_RENDEZVOUS_PORT"])
    for _ in range(3):  # it drops a question when another worker is lost meanwhile
        with (
            suppress(HTTPException, ConnectionError),
            closing(HTTPConnection(host, port, timeout=GATHER_S)) as connection,
        ):
            connection.request(method, path, b"here" if method == "PUT" else None)
            response = connection.getresponse()
            return response.status, response.read().decode()
        time.sleep(0.5)
    raise InputError("the launcher answers no more; the same command goes on from the newest checkpoint")
