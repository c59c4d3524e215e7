"""What a source tells of itself: a table with one line an image, the classes, and how one image's bytes are read."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.config import InputError, SourceSettings
from pipelines.dataset.manifest import ImageClass, SplitName
from pipelines.dataset.storage import Location
from pipelines.preprocess.sources.kept import Kept

WHOLE_FILE = -1
"""The length of an item that is a file of its own."""


class Item(NamedTuple):
    """One line of a listing: where the bytes of one image are."""

    key: str
    """Its name in the source, such as `train/n01440764/n01440764_10026.JPEG`; unique, the same on every machine."""
    file: str
    """The file that holds it, below the source's root."""
    offset: int
    """First byte of the image in that file; where a source's reader says so, another way to find it there."""
    length: int
    """Bytes, or WHOLE_FILE; where a source reads in file order, the number of what is read together."""
    label: int
    split: SplitName | None
    """None: the source leaves the split to the hash of the key."""


LISTED = pa.schema(
    [
        pa.field("key", pa.string()),
        pa.field("file", pa.string()),
        pa.field("offset", pa.int64()),
        pa.field("length", pa.int64()),
        pa.field("label", pa.int32()),
        pa.field("split", pa.string()),
    ]
)
"""An Item a row. 1.28 million of them take 126 MB as Arrow columns, many times that as Python objects."""


def table_of(items: Iterable[Item], block: int = 65_536) -> pa.Table:
    """LISTED, never holding more than `block` items as Python objects."""
    batches: list[pa.RecordBatch] = []
    pending: list[Item] = []

    def pack() -> None:
        columns = zip(*pending, strict=True)
        arrays = [pa.array(values, kind) for values, kind in zip(columns, LISTED.types, strict=True)]
        batches.append(pa.record_batch(arrays, schema=LISTED))
        pending.clear()

    for item in items:
        pending.append(item)
        if len(pending) == block:
            pack()
    if pending:
        pack()
    return pa.Table.from_batches(batches, LISTED)


class Reader(Protocol):
    """Reads the bytes of one image. Travels to executors, so an instance must pickle."""

    def __call__(self, file: str, offset: int, length: int) -> bytes:
        """Encoded bytes. FileNotFoundError or PermissionError make it a reject, another OSError makes the task fail."""
        ...


_OPEN = Kept[pa.NativeFile](64)


@dataclass(frozen=True)
class ReadRange:
    """Reads whole files, or ranges of bytes of larger ones (tars), below a root."""

    root: Location

    def __call__(self, file: str, offset: int, length: int) -> bytes:
        if length == WHOLE_FILE:
            return (self.root / file).read_bytes()
        opened = _OPEN.get(str(self.root / file), (self.root / file).open)
        content = bytes(opened.read_at(length, offset))
        if len(content) < length:
            raise OSError(
                f"{self.root / file}: ends at byte {offset + len(content)}, but an image goes on; copy it again"
            )
        return content


class SourceReject(NamedTuple):
    """A thing in the source that is no usable image, known before any image is read."""

    key: str
    uri: str
    reason: str
    """One of pipelines.preprocess.image.Reason."""
    detail: str


@dataclass(frozen=True)
class Listing:
    """All images of a source and what they are of."""

    items: pa.Table
    """LISTED."""
    classes: tuple[ImageClass, ...]
    description: str
    """For people: what it is and where."""
    root: str
    """What `file` of an item is below, for people: a reject's uri is `root/file`."""
    read: Reader
    fingerprint: str
    """Changes when the source's files do."""
    rejects: tuple[SourceReject, ...] = field(default=())
    read_in_file_order: bool = False
    """Neighbours in a file are costly to read apart: the shuffle keeps them together while they are read."""


def class_table(
    source: SourceSettings,
    names: Sequence[str],
    wnids: Sequence[str | None] = (),
    ilsvrc_ids: Sequence[int] = (),
    complete: bool = False,
) -> tuple[ImageClass, ...]:
    """Classes in label order, named as the settings or else the source names them.

    complete: the source says how many classes there are; otherwise it was seen to have as many at the least.
    """
    given = source.class_names
    if twice := repeated(given):
        raise InputError(f"source.class_names has {twice!r} twice; every class needs a name of its own")
    if given and (len(given) < len(names) or (complete and len(given) > len(names))):
        raise InputError(f"source.class_names has {len(given)} names for labels from 0 to {len(names) - 1}")
    return tuple(
        ImageClass(
            index=index,
            words=words,
            wnid=wnids[index] if index < len(wnids) else None,
            ilsvrc_id=ilsvrc_ids[index] if index < len(ilsvrc_ids) else None,
        )
        for index, words in enumerate(given or names)
    )


def repeated(names: Iterable[str]) -> str | None:
    """The first of the names that was there before; None if each is there once."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def repeated_key(items: pa.Table) -> str | None:
    """The first key of LISTED that two items have; None if each has its own."""
    keys = items.column("key")
    if len(pc.unique(keys)) == len(keys):
        return None
    return repeated(key.as_py() for key in keys)


def root_of(source: SourceSettings) -> Location:
    """The folder that source.path names; an InputError if there is none."""
    assert source.path is not None, "SourceSettings checks this"
    return folder_at("source.path", source.path)


def folder_at(setting: str, address: str) -> Location:
    """The folder that this setting names; an InputError if there is none."""
    root = Location.at(address)
    if root.size_bytes is not None:
        raise InputError(f"{setting} = {root} is a file; give the folder that it lies in")
    if not root.is_folder():
        raise InputError(f"{setting} = {root}: no such folder")
    return root


def file_facts(file: Location) -> str:
    """Name, size and time of the last change: what tells one state of a file from another without reading it."""
    info = file.filesystem.get_file_info(file.path)
    return f"{file.name} {info.size} {info.mtime_ns}"


class _Digest:
    """A file to write to, of which only the checksum is kept."""

    closed = False

    def __init__(self, start: bytes) -> None:
        self._sha256 = hashlib.sha256(start)

    def write(self, content: bytes) -> int:
        self._sha256.update(content)
        return len(content)

    def flush(self) -> None:
        """Nothing waits to be written."""

    def hexdigest(self) -> str:
        return self._sha256.hexdigest()


def fingerprint_of(items: pa.Table, *facts: object) -> str:
    """sha256 of a listing and of further facts, such as times at which files changed."""
    digest = _Digest(repr(facts).encode())
    with pa.ipc.new_stream(pa.PythonFile(digest, "w"), items.schema) as stream:
        stream.write_table(items.combine_chunks(), 65_536)
    return digest.hexdigest()
