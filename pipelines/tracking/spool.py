"""A run's spool: all that it logs, on local disk first, and how much of it the store has.

    RUN/spool/0001/           one a run of the store; a training that starts afresh begins the next number
      journal.jsonl           entries.py, one a line, Begin first; training writes it
      hosts/HOST.jsonl        the same, of what a host samples of itself; that host writes it
      files/…                 artifacts that wait to be sent
      sent.json               the store's id of the run, and how far its journals are sent; sender.py writes it
      refused.jsonl           entries that the store will not have, with its reason

Nothing here knows MLflow.
"""

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from secrets import token_hex

from pipelines.dataset.storage import sync
from pipelines.tracking.entries import Begin, Child, Entry, File, Metrics, Model, Parameters, Status, Tags, entry_from
from pipelines.tracking.journal import Journal, read

JOURNAL = "journal.jsonl"
HOSTS = "hosts"
FILES = "files"
RESUMED = "strata.resumed."
"""Before a parameter's key, in the tag that has the value it changed to when the training went on."""


class Spool:
    """A run's spool in the hands of its one writer."""

    def __init__(self, folder: Path, begin: Begin) -> None:
        """Takes up the spool in `folder`, or makes it; an InputError if another process keeps hold of it."""
        self.folder = folder
        self._journal = Journal(folder / JOURNAL)
        self._memory = _Memory()
        for entry in entries(folder):
            self._memory.saw(entry)
        if self._memory.begin is None:
            self.append(begin)

    @classmethod
    def of_run(cls, run_folder: Path, begin: Begin, fresh: bool) -> "Spool":
        """The newest in a run's folder, to go on with; a new one if there is none, or it goes elsewhere, or `fresh`."""
        newest = max(run_folder.glob("spool/*/"), default=None, key=lambda folder: int(folder.name))
        if newest is None:
            return cls(run_folder / "spool" / "0001", begin)
        there = begin_of(newest)
        same = there is None or (there.experiment, there.uri) == (begin.experiment, begin.uri)
        return cls(newest if same and not fresh else newest.with_name(f"{int(newest.name) + 1:04d}"), begin)

    @property
    def begin(self) -> Begin:
        assert self._memory.begin is not None, "the constructor sees to it"
        return self._memory.begin

    @property
    def status(self) -> str:
        """The last that was logged; empty: none was."""
        return self._memory.status

    def append(self, entry: Entry) -> None:
        """Less what is there already: a resumed training says things again."""
        for new in self._memory.news(entry):
            self._journal.append(new.model_dump())
            self._memory.saw(new)

    def keep(self, source: Path) -> str:
        """A copy of a file or folder (or the same on disk, by another name), its path below the spool's folder."""
        kept = self.folder / FILES / token_hex(4) / source.name
        kept.parent.mkdir(parents=True)
        if source.is_dir():
            shutil.copytree(source, kept, copy_function=_link_or_copy)
        else:
            _link_or_copy(str(source), str(kept))
        for path in [kept, *kept.rglob("*"), kept.parent]:
            sync(path)
        return str(kept.relative_to(self.folder))

    def close(self) -> None:
        """Let another process write."""
        self._journal.close()


@dataclass
class _Memory:
    """What has been logged, as far as later entries depend on it."""

    begin: Begin | None = None
    parent: str = ""
    status: str = ""
    values: dict[str, str] = field(default_factory=dict)
    """Of parameters; where one was changed, the latest."""
    last_steps: dict[str, int] = field(default_factory=dict)
    """Of each metric."""

    def saw(self, entry: Entry) -> None:
        if isinstance(entry, Begin):
            self.begin = entry
        elif isinstance(entry, Child):
            self.parent = entry.parent
        elif isinstance(entry, Status):
            self.status = entry.status
        elif isinstance(entry, Parameters):
            self.values |= entry.values
        elif isinstance(entry, Tags):
            self.values |= {
                key.removeprefix(RESUMED): value for key, value in entry.values.items() if key.startswith(RESUMED)
            }
        elif isinstance(entry, Metrics):
            self.last_steps |= dict.fromkeys(entry.values, entry.step)

    def news(self, entry: Entry) -> Iterator[Entry]:
        """The entry without steps that were logged before they were done again; changed parameters as tags."""
        if isinstance(entry, Metrics):
            values = {key: value for key, value in entry.values.items() if entry.step > self.last_steps.get(key, -1)}
            yield from [entry.model_copy(update={"values": values})] if values else []
        elif isinstance(entry, Parameters):
            new = {key: value for key, value in entry.values.items() if key not in self.values}
            changed = {
                RESUMED + key: value for key, value in entry.values.items() if self.values.get(key, value) != value
            }
            yield from [Parameters(values=new)] if new else []
            yield from [Tags(values=changed)] if changed else []
        elif not (isinstance(entry, Child) and entry.parent == self.parent):
            yield entry


@dataclass(frozen=True)
class Sent:
    """How far a spool is sent."""

    run_id: str = ""
    """The store's; empty: it has none yet."""
    bytes: dict[str, int] = field(default_factory=dict)
    """Of each journal, by its path below the spool's folder."""
    awaited_parent: str = ""
    """Begin.spool of the run's parent, as long as the store has no such run."""

    @staticmethod
    def of(folder: Path) -> "Sent":
        """Of the spool in a folder."""
        path = folder / "sent.json"
        return Sent(**json.loads(path.read_text())) if path.exists() else Sent()

    def write(self, folder: Path) -> None:
        """In one piece, and durable."""
        temporary = folder / "sent.tmp"
        temporary.write_text(json.dumps(asdict(self)))
        sync(temporary)
        temporary.replace(folder / "sent.json")
        sync(folder)


def spools(folder: Path) -> list[Path]:
    """The spools in a folder and below it, the oldest first."""
    found = [path.parent for path in folder.rglob(JOURNAL) if begin_of(path.parent)]
    return sorted(found, key=lambda spool: (begin.at_ms if (begin := begin_of(spool)) else 0, str(spool)))


def journals(folder: Path) -> list[Path]:
    """Of a spool."""
    return [folder / JOURNAL, *sorted((folder / HOSTS).glob("*.jsonl"))]


def entries(folder: Path) -> Iterator[Entry]:
    """What a spool's training logged; damaged entries are left out."""
    for line in read(folder / JOURNAL):
        if line.tree is not None:
            yield entry_from(line.tree)


def begin_of(folder: Path) -> Begin | None:
    """Of a spool; None: nothing has been written yet."""
    first = next(entries(folder), None)
    return first if isinstance(first, Begin) else None


def unsent(folder: Path) -> int:
    """Entries of a spool that are not known to have reached the store, its place under its parent included."""
    sent = Sent.of(folder)
    waiting = sum(1 for path in journals(folder) for _ in read(path, sent.bytes.get(key_of(path, folder), 0)))
    return waiting + bool(sent.awaited_parent)


def key_of(journal: Path, folder: Path) -> str:
    """Of a journal in Sent.bytes."""
    return str(journal.relative_to(folder))


def history(found: Iterable[Entry], keys: Iterable[str]) -> dict[str, dict[int, float]]:
    """Of metrics: key -> step -> value."""
    curves: dict[str, dict[int, float]] = {key: {} for key in keys}
    for entry in found:
        if isinstance(entry, Metrics):
            for key in curves.keys() & entry.values.keys():
                curves[key][entry.step] = entry.values[key]
    return curves


def is_kept(folder: Path, entry: File | Model) -> bool:
    """Whether all that the entry names is what `keep` makes, or is gone: a spool may come from somebody else, and must
    not have files sent, or removed, that lie anywhere."""
    kept = folder / entry.path
    found = [kept, *kept.rglob("*")]
    home = (folder / FILES).resolve()
    return kept.parent.resolve().parent == home and not any(path.is_symlink() for path in found)


def forget_file(folder: Path, entry: File | Model) -> None:
    """Of an entry that the store has."""
    if is_kept(folder, entry):
        shutil.rmtree((folder / entry.path).parent, ignore_errors=True)


def _link_or_copy(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)
    return target
