"""What trainings could not send to MLflow, sent now: `python jobs/sync.py [FOLDER] [uri=…] [artifacts=…]`."""

from pathlib import Path

from pipelines.command_line import run
from pipelines.config import InputError, SyncSettings, TrackingSettings
from pipelines.tracking.sender import Sender, UnreachableError
from pipelines.tracking.spool import Sent, begin_of, spools, unsent


def main(settings: SyncSettings) -> None:
    found = spools(settings.folder)
    if not found:
        raise InputError(f"folder = {settings.folder}: no training has logged anything here; give a run's folder")
    waiting = [spool for spool in found if unsent(spool)]
    for spool in waiting:
        send(spool, settings)
    print(f"{len(waiting)} of {len(found)} runs had something to send")


def send(spool: Path, settings: SyncSettings) -> None:
    """All of one spool; an InputError if the store does not take it."""
    begin, count = begin_of(spool), unsent(spool)
    assert begin is not None, "spools() finds those that have begun"
    if not settings.uri and begin.uri != TrackingSettings().uri:
        password = ", with the password, which is not kept" if "***" in begin.uri else ""
        raise InputError(f"{spool}: it says that it goes to {begin.uri}: if you trust that store, give uri=…{password}")
    sender = Sender(spool, settings.uri or begin.uri, print, artifacts=settings.artifacts)
    try:
        sender.drain()
    except UnreachableError as error:
        raise InputError(f"{spool}: {unsent(spool)} entries are not sent: {error}") from None
    finally:
        sender.close()
    if left := unsent(spool):
        print(f"{begin.name}: {left} entry waits for the run of its parent, which MLflow does not have")
    print(f"{begin.name}: {count - left} entries sent to run {Sent.of(spool).run_id}, experiment {begin.experiment}")


if __name__ == "__main__":
    run(SyncSettings, main, "python jobs/sync.py", subject="folder")
