"""A listing is put together from parts, such as a class folder or a tar, each listed on its own."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pyarrow as pa

from pipelines.dataset.manifest import SplitName
from pipelines.dataset.storage import Location
from pipelines.preprocess.sources.listing import LISTED, WHOLE_FILE, Item, SourceReject, table_of
from pipelines.preprocess.sources.names import has_image_suffix, is_clutter
from pipelines.preprocess.sources.progress import ProgressLines
from pipelines.preprocess.sources.tar import Member, ReadAt, Window, members
from pipelines.preprocess.sources.walk import Walk

_FAR_THREADS, _LOCAL_THREADS = 32, 4
"""A store answers many requests at once. On a local disk more threads only wait for each other, once it is cached."""


@dataclass(frozen=True)
class Part:
    """Images of a part of a source, packed: Items would take many times the memory."""

    items: pa.Table
    """LISTED."""
    rejects: tuple[SourceReject, ...] = ()
    other_files: int = 0
    """Files without an image's suffix."""
    facts: str = ""
    """For the fingerprint: names, sizes and times of the files."""

    def left_out(self) -> str:
        """A remark on files that were passed over, to be put behind a description."""
        plural = "s" if self.other_files > 1 else ""
        return f", {self.other_files} other file{plural} left out" if self.other_files else ""


@dataclass
class Seen:
    """What is counted beside the items while a part is listed."""

    rejects: list[SourceReject] = field(default_factory=list)
    other_files: int = 0
    facts: list[str] = field(default_factory=list)

    def reject(self, key: str, uri: str, reason: str, detail: str) -> None:
        self.rejects.append(SourceReject(key, uri, reason, detail))

    def part(self, items: Iterable[Item]) -> Part:
        """Exhausts the items, which fill `self` meanwhile."""
        table = table_of(items)
        facts = hashlib.sha256("\n".join(self.facts).encode()).hexdigest()
        return Part(table, tuple(self.rejects), self.other_files, facts)


def gather(parts: Sequence[Callable[[], Part]], root: Location) -> list[Part]:
    """All parts, in order, listed side by side."""
    progress = ProgressLines(f"listing {root}", len(parts), "parts")

    def listed(part: Callable[[], Part]) -> Part:
        done = part()
        progress.add(1)
        return done

    pool = ThreadPoolExecutor(_LOCAL_THREADS if root.is_local else _FAR_THREADS)
    try:
        return list(pool.map(listed, parts))
    finally:
        pool.shutdown(cancel_futures=True)  # after an error, those not begun are not wanted


def joined(parts: Sequence[Part]) -> Part:
    """All parts as one."""
    tables = [part.items for part in parts] or [LISTED.empty_table()]
    return Part(
        pa.concat_tables(tables).combine_chunks(),
        tuple(reject for part in parts for reject in part.rejects),
        sum(part.other_files for part in parts),
        hashlib.sha256("\n".join(part.facts for part in parts).encode()).hexdigest(),
    )


def list_folder(walk: Walk, folder: str, key: str, label: int, split: SplitName | None) -> Part:
    """Every image in a folder below the walk's root and below it. Keys are `key` and the path below the folder."""
    seen = Seen()
    skip = len(folder) + 1

    def items() -> Iterator[Item]:
        for file in walk.files(folder):
            if file.fault:
                seen.reject(f"{key}/{file.path[skip:]}".rstrip("/"), str(walk.root / file.path), *file.fault)
            elif not has_image_suffix(file.path):
                seen.other_files += 1
            else:
                seen.facts.append(f"{file.path} {file.size_bytes} {file.mtime_ns}")
                yield Item(f"{key}/{file.path[skip:]}", file.path, 0, WHOLE_FILE, label, split)

    return seen.part(items())


def list_class_tar(read: ReadAt, tar: Location, file: str, within: Member, key: str, label: int, facts: str) -> Part:
    """Every image of the class tar that is `within` the file: a member of another tar, or the file itself."""
    seen = Seen(facts=[facts])

    def items() -> Iterator[Item]:
        window = read if tar.is_local else Window(read)
        for member in members(window, f"{tar}, {within.name}", within.offset, within.size_bytes):
            image = usable(member, seen, str(tar), f"{key}/")
            if image is None:
                continue
            if has_image_suffix(image.name):
                yield Item(f"{key}/{image.name}", file, image.offset, image.size_bytes, label, "train")
            else:
                seen.other_files += 1

    return seen.part(items())


def usable(member: Member, seen: Seen, uri: str, key_prefix: str) -> Member | None:
    """The member, named without `./`, if it is a file to look at. One that must not be read becomes a reject."""
    name = member.name.removeprefix("./")
    if is_clutter(name):
        return None
    if fault := member.fault:
        reason = "unreadable" if member.kind in ("sparse file", "unknown") else "unsafe_path"
        seen.reject(key_prefix + name, uri, reason, f"{name}: {fault}")
        return None
    if member.kind != "file":
        return None
    return member if name == member.name else member._replace(name=name)
