"""A training's run: told to its spool on local disk, from where another process brings it to the store."""

import json
import os
import shlex
import sys
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen, TimeoutExpired
from threading import Thread
from uuid import uuid4

from pipelines.config import InputError, TrackingSettings, without_secrets
from pipelines.tracking.base import Tracker, now_ms
from pipelines.tracking.entries import Begin, Child, Entry
from pipelines.tracking.figures import learning_curves
from pipelines.tracking.spool import Sent, Spool, entries, history, unsent

SQLITE = "sqlite:///"
SCHEMES = (SQLITE, "http://", "https://", "postgresql", "mysql", "mssql", "databricks")
LOCAL_WAIT_S = 200.0
"""At least so long for a store on this disk: it is not down, only busy, and at first its tables are made. Less than
horovod.stall_shutdown_s: of several trainings the other workers wait in the next one."""
HURRY_S = 5.0
"""How long a training that does not end well waits for the store: whoever ends it does not wait for long either."""
CURVES = ("train_loss", "val_loss", "train_top1_error", "val_top1_error", "val_top5_error")


class SpooledTracker(Tracker):
    """One run. Whatever the store does, nothing here waits for it, but for `close`, so long as the settings say."""

    def __init__(self, spool: Spool, sender: "SenderProcess | None", wait_s: float) -> None:
        """sender: None leaves it to jobs/sync.py."""
        self._spool, self._sender, self._wait_s = spool, sender, wait_s
        self.was_finished = spool.status == "FINISHED"

    @classmethod
    def begin(
        cls, settings: TrackingSettings, name: str, folder: Path, fresh: bool = False, parent: str = ""
    ) -> "SpooledTracker":
        """A training in its folder: the run that it had there before, or a new one.

        A new one also where `fresh` or the experiment or the store is another than before. The store need not answer;
        an InputError if it never could. parent: `id` of the tracker whose child the run is.
        """
        _check(settings.uri)
        begin = Begin(
            spool=uuid4().hex,
            name=name,
            experiment=settings.experiment,
            uri=without_secrets(settings.uri),
            artifacts=str(settings.artifacts.absolute()),
            at_ms=now_ms(),
        )
        spool = Spool.of_run(folder, begin, fresh)
        if parent:
            spool.append(Child(parent=parent))
        wait_s = max(settings.wait_at_end_s, LOCAL_WAIT_S if settings.uri.startswith(SQLITE) else 0)
        return cls(spool, SenderProcess(spool.folder, settings, wait_s), wait_s)

    @property
    def id(self) -> str:
        """What the run is known by from the start; the store has it as a tag."""
        return self._spool.begin.spool

    @property
    def run_id(self) -> str:
        return Sent.of(self._spool.folder).run_id

    @property
    def folder(self) -> Path:
        """Of the spool."""
        return self._spool.folder

    def log_learning_curves(self) -> None:
        """Errors and loss over the epochs, as a picture."""
        self.log_figure(learning_curves(history(entries(self._spool.folder), CURVES)), "learning_curves.png")

    def close(self) -> None:
        """Wait for the store to have everything, for so long as that may take; say so if it has not."""
        self._close(self._wait_s)

    def __exit__(self, error_type: type[BaseException] | None, *rest: object) -> None:
        super().__exit__(error_type, *rest)
        self._close(self._wait_s if error_type is None else min(HURRY_S, self._wait_s))

    def _close(self, wait_s: float) -> None:
        self._spool.close()
        if self._sender:
            self._sender.end(wait_s)
            if waiting := unsent(self._spool.folder):
                print(
                    f"tracking: {waiting} entries of the run are not in MLflow yet; once it answers: "
                    f"{_sync_command(self._spool)}",
                    flush=True,
                )

    def _record(self, entry: Entry) -> None:
        self._spool.append(entry)

    def _keep(self, source: Path) -> str:
        return self._spool.keep(source)


def _sync_command(spool: Spool) -> str:
    usual = TrackingSettings()
    words = ["python", "jobs/sync.py", str(spool.folder.parent.parent)]
    if spool.begin.uri != usual.uri:
        words.append(f"uri={spool.begin.uri}")
    if spool.begin.artifacts != str(usual.artifacts.absolute()):
        words.append(f"artifacts={spool.begin.artifacts}")
    return shlex.join(words)


class SenderProcess:
    """sender.py at work on a spool: another process, so that neither its imports nor its requests hold up a step."""

    def __init__(self, folder: Path, settings: TrackingSettings, wait_s: float) -> None:
        """wait_s: how long it goes on trying, at most, once this process has ended."""
        self._process = Popen(
            [sys.executable, "-m", "pipelines.tracking.sender", str(folder)],
            stdin=PIPE,
            stdout=PIPE,
            stderr=STDOUT,
            env=os.environ | {"PYTHONPATH": _path_of_ours()},
            start_new_session=True,  # Ctrl-C is for the training, which then has something to send
        )
        assert self._process.stdin is not None, "a pipe was asked for"
        instructions = {
            "uri": settings.uri, "artifacts": str(settings.artifacts.absolute()), "wait_s": wait_s
        }  # fmt: skip
        self._process.stdin.write(f"{json.dumps(instructions)}\n".encode())
        self._process.stdin.flush()
        # Not this process's own output: a launcher would wait for its end, though the training is gone.
        self._listener = Thread(target=self._pass_on, daemon=True)
        self._listener.start()

    def end(self, wait_s: float) -> None:
        """Let it send the rest, for so long; then it is gone, whatever it was at."""
        assert self._process.stdin is not None, "a pipe was asked for"
        self._process.stdin.close()
        try:
            self._process.wait(wait_s)
        except TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join(1)

    def _pass_on(self) -> None:
        assert self._process.stdout is not None, "a pipe was asked for"
        for line in self._process.stdout:
            print(without_secrets(line.decode(errors="replace").rstrip()), flush=True)


def _path_of_ours() -> str:
    ours = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join(filter(None, [ours, os.environ.get("PYTHONPATH")]))


def _check(uri: str) -> None:
    """Raises InputError where waiting would not help."""
    if not uri.startswith(SCHEMES):
        raise InputError(f"tracking.uri = {uri}: not an address that MLflow knows, such as http://HOST:5000")
    path = Path(uri.removeprefix(SQLITE))
    if uri.startswith(SQLITE) and path.exists():
        with path.open("rb") as file:
            if file.read(16) not in (b"", b"SQLite format 3\0"):
                raise InputError(f"tracking.uri = {uri}: not reachable: file is not a database")
