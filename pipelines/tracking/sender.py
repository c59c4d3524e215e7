"""A spool to the store: the process beside a training that sends what is logged, and what jobs/sync.py sends later.

    python -m pipelines.tracking.sender FOLDER      # a spool's; on standard input: one line of JSON, Instructions

The training never waits for it. It ends when its standard input does (the training has ended, or was killed) and all is
sent, or when it has tried for long enough after that.
"""

import json
import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException, RestException
from requests import RequestException
from sqlalchemy.exc import SQLAlchemyError

from pipelines.config import InputError, TrackingSettings, without_secrets
from pipelines.tracking.entries import Child, Entry, File, Metrics, Model, Tags, entry_from
from pipelines.tracking.journal import lock, read_durable
from pipelines.tracking.spool import Sent, begin_of, forget_file, is_kept, journals, key_of, unsent
from pipelines.tracking.store import StoreRun, connect, experiment_id, run_of
from pipelines.tracking.tags import child_tags

POLL_S = 0.5
SETTLE_S = 1.0
"""After a failure, once the server answers again: what it was asked before it failed may still be at work in it."""
LONGEST_PAUSE_S = 15.0
POINTS = 1000
"""In one request; MLflow takes no more."""

_REFUSALS = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE"}


@dataclass(frozen=True)
class Instructions:
    uri: str
    """Of the store, with its password, which is why it does not come as an argument."""
    artifacts: str
    """As in TrackingSettings: what a spool has may be somebody else's, of whose run this one goes on."""
    wait_s: float
    """After the end of standard input."""


class UnreachableError(Exception):
    """The store did not take what was sent; it may do so later."""


@dataclass
class _Batch:
    """Metrics that are sent together, or one other entry; none at all where the journal is damaged."""

    entries: list[Entry]
    end: int
    """As Line.end, of the last."""


class Sender:
    """Sends a spool, which it keeps to this process until it is closed."""

    def __init__(
        self, folder: Path, uri: str, say: Callable[[str], None], wait_s: float = 0, artifacts: Path | None = None,
        is_trusted: bool = False,
    ) -> None:  # fmt: skip
        """artifacts: where files go that the store keeps on this machine; None: where the spool says.
        is_trusted: whether the store may have them elsewhere on it, too.

        Raises InputError if another process is still sending it after `wait_s`.
        """
        os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"  # what MLflow itself repeats might be done twice
        begin = begin_of(folder)
        assert begin is not None, "a spool begins with it"
        self._lock = (folder / "sending.lock").open("wb")
        lock(self._lock, folder, wait_s)
        self._folder, self._begin, self._say = folder, begin, say
        self._settings = TrackingSettings(
            uri=uri, artifacts=artifacts or Path(begin.artifacts), experiment=begin.experiment
        )
        self._sent = Sent.of(folder)
        self._within = None if is_trusted else artifacts
        self._client: MlflowClient | None = None
        self._run: StoreRun | None = None
        self._experiment = ""
        self._has_failed = False

    def drain(self) -> None:
        """Send all that is there, from where it stopped the last time; UnreachableError if that cannot be done now."""
        if not unsent(self._folder):
            return
        try:
            run = self._run or self._connect()
            for journal in journals(self._folder):
                key = key_of(journal, self._folder)
                for batch in _batches(journal, self._sent.bytes.get(key, 0)):
                    self._send(run, batch.entries)
                    self._note(replace(self._sent, bytes={**self._sent.bytes, key: batch.end}))
                    for entry in batch.entries:
                        if isinstance(entry, File | Model):
                            forget_file(self._folder, entry)
            self._adopt(run)
        except (MlflowException, SQLAlchemyError, RequestException, OSError, InputError) as error:
            self._run, self._has_failed = None, True
            raise UnreachableError(without_secrets(str(error).strip().split("\n")[0])) from None

    def close(self) -> None:
        """Let another process send."""
        self._lock.close()

    def _connect(self) -> StoreRun:
        self._client = connect(self._settings, create=True)
        if self._has_failed:
            time.sleep(SETTLE_S)
        self._experiment = experiment_id(self._client, self._settings)
        run = StoreRun.begin(self._client, self._experiment, self._begin, self._folder, self._sent.run_id, self._within)
        if run.run_id != self._sent.run_id:  # a new one: also where the old one was deleted
            self._note(Sent(run.run_id))
        self._run = run
        return run

    def _send(self, run: StoreRun, entries: list[Entry]) -> None:
        """An entry that the store refuses for what it is must not keep back those behind it."""
        try:
            metrics = [entry for entry in entries if isinstance(entry, Metrics)]
            if metrics:
                run.send_metrics(metrics)
            for entry in entries:
                if isinstance(entry, Child):
                    self._note(replace(self._sent, awaited_parent=entry.parent))
                elif isinstance(entry, File | Model) and not is_kept(self._folder, entry):
                    self._refused(entry, f"{entry.path} is no file of this spool", by="Strata")
                elif not isinstance(entry, Metrics) and not self._is_gone(entry):
                    run.send(entry)
        except MlflowException as error:
            if not self._refuses(error) or not self._is_active(run):
                raise
            if len(entries) > 1:
                for entry in entries:
                    self._send(run, [entry])
            else:
                self._refused(entries[0], without_secrets(str(error).strip().split("\n")[0]))

    def _is_gone(self, entry: Entry) -> bool:
        """Whether it is of a file that was sent before, to a run that has been deleted since."""
        return isinstance(entry, File | Model) and not (self._folder / entry.path).exists()

    def _refuses(self, error: MlflowException) -> bool:
        """Whether MLflow itself said no for good, not a proxy before it."""
        is_its_own = isinstance(error, RestException) or not self._settings.uri.startswith("http")
        return is_its_own and error.error_code in _REFUSALS

    def _is_active(self, run: StoreRun) -> bool:
        assert self._client is not None, "it has just answered"
        return run_of(self._client, self._experiment, self._begin.spool, run.run_id) == run.run_id

    def _refused(self, entry: Entry, why: str, by: str = "MLflow") -> None:
        with (self._folder / "refused.jsonl").open("a") as file:
            file.write(json.dumps({"entry": entry.model_dump(), "why": why}) + "\n")
        self._say(f"{by} refuses an entry of {self._begin.name} ({entry.kind}), kept in {file.name}: {why}")

    def _adopt(self, run: StoreRun) -> None:
        """Make the run a child of its parent, once the store has that one; look again for a twin of the run."""
        assert self._client is not None, "the run came from it"
        if self._sent.awaited_parent and (parent := run_of(self._client, self._experiment, self._sent.awaited_parent)):
            run.send(Tags(values=child_tags(parent)))
            self._note(replace(self._sent, awaited_parent=""))
        if self._has_failed:
            run_of(self._client, self._experiment, self._begin.spool, run.run_id)
            self._has_failed = False

    def _note(self, sent: Sent) -> None:
        sent.write(self._folder)
        self._sent = sent


def _batches(journal: Path, start: int) -> Iterator[_Batch]:
    batch = _Batch([], start)
    points = 0
    for line in read_durable(journal, start):
        entry = None if line.tree is None else entry_from(line.tree)
        more = len(entry.values) if isinstance(entry, Metrics) else POINTS
        if batch.entries and points + more > POINTS:
            yield batch
            batch, points = _Batch([], batch.end), 0
        if entry is not None:
            batch.entries.append(entry)
            points += more
        batch.end = line.end
    if batch.end > start:
        yield batch


def follow(folder: Path, instructions: Instructions) -> bool:
    """Send what a training logs until standard input ends, then what is left; whether all is sent."""
    has_ended, deadline, pause_s, is_down = False, float("inf"), POLL_S, False
    try:
        # A store on this disk is the user's own, and may say where it is to have its files.
        is_own, wait_s = not instructions.uri.startswith("http"), instructions.wait_s + 60
        sender = Sender(folder, instructions.uri, _say, wait_s, Path(instructions.artifacts), is_own)
    except InputError as error:
        _say(str(error))
        return False
    while True:
        try:
            sender.drain()
            if is_down:
                _say("the store answers again")
            pause_s, is_down = POLL_S, False
            if has_ended and not unsent(folder):  # else its parent is still to come
                return True
        except UnreachableError as error:
            if not is_down:
                _say(f"what is logged is kept in {folder} until the store takes it: {error}")
            pause_s, is_down = min(2 * pause_s, LONGEST_PAUSE_S), True
        if time.monotonic() + pause_s > deadline:
            return False
        if has_ended:
            time.sleep(pause_s)
        elif _ends_within(pause_s):
            has_ended, deadline, pause_s = True, time.monotonic() + instructions.wait_s, POLL_S


def _ends_within(seconds: float) -> bool:
    """Whether standard input ends in this time; returns as soon as it does."""
    readable, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(readable)


def _say(text: str) -> None:
    with suppress(OSError):  # nobody hears it any more
        print(f"tracking: {text}", flush=True)


if __name__ == "__main__":
    os.nice(10)
    arguments = Instructions(**json.loads(sys.stdin.readline()))
    sys.exit(0 if follow(Path(sys.argv[1]), arguments) else 1)
