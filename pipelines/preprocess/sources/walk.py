"""The files below a folder, and which symbolic links among them may be followed."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipelines.config import InputError
from pipelines.dataset.storage import Location
from pipelines.preprocess.sources.names import is_clutter


class File(NamedTuple):
    """A file, or a link that cannot be followed to one."""

    path: str
    """Below the root of the walk."""
    size_bytes: int
    mtime_ns: int
    fault: tuple[str, str] | None = None
    """Reason and detail of the reject that it is."""


_Identity = tuple[int, int]
"""Device and inode of a folder."""


@dataclass(frozen=True)
class Walk:
    """Walks folders below a root. Local links are followed if they stay inside a boundary, or `follow_links` is set."""

    root: Location
    follow_links: bool = False
    boundary: str = ""
    """A local path; empty: the root."""

    def files(self, folder: str) -> Iterator[File]:
        """Files in `folder` and below it, in a fixed order, without what desktops leave.

        folder: below the root; empty: the root itself.
        """
        if self.root.is_local:
            if fault := self._fault_of_target(f"{self.root.path}/{folder}"):
                yield File(folder, 0, 0, fault)
            else:
                yield from self._local(f"{folder}/" if folder else "", (), set())
            return
        for info in (self.root / folder if folder else self.root).files(below=True):
            path = self.below_root(str(info.path))
            if not is_clutter(path):
                yield File(path, info.size, info.mtime_ns or 0)

    def below_root(self, path: str) -> str:
        """A path of the root's filesystem, as it is spelled below the root."""
        return path[len(self.root.path.rstrip("/")) + 1 :]

    def _local(self, prefix: str, above: tuple[_Identity, ...], followed: set[_Identity]) -> Iterator[File]:
        """prefix: the folder, below the root, with a slash; empty: the root. above: the folders that it lies in.

        followed: where links have led; each such folder is entered once, so that cycles end.
        """
        folder = f"{self.root.path}/{prefix}"
        try:
            status = os.stat(folder)  # noqa: PTH116 - Path's way costs more than the call
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            raise InputError(f"{folder}: not readable: {error.strerror}") from None
        inside = (*above, (status.st_dev, status.st_ino))
        for entry in entries:
            path = prefix + entry.name
            if is_clutter(entry.name):
                continue
            if fault := self._fault(entry, inside, followed):
                yield File(path.encode(errors="backslashreplace").decode(), 0, 0, fault)
            elif entry.is_dir():
                yield from self._local(f"{path}/", inside, followed)
            else:
                status = entry.stat()
                yield File(path, status.st_size, status.st_mtime_ns)

    def _fault(
        self, entry: os.DirEntry[str], above: tuple[_Identity, ...], followed: set[_Identity]
    ) -> tuple[str, str] | None:
        if not entry.name.isascii() and any("\ud800" <= letter <= "\udfff" for letter in entry.name):
            return "unreadable", "its name is not UTF-8"
        if entry.is_symlink():
            return self._fault_of_link(entry, above, followed)
        if not entry.is_file() and not entry.is_dir():
            return "unsafe_path", "it is neither a file nor a folder"
        return None

    def _fault_of_target(self, path: str) -> tuple[str, str] | None:
        """Of what lies outside the root, if links on the way lead there."""
        boundary = os.path.realpath(self.boundary or self.root.path)
        real = os.path.realpath(path)
        if self.follow_links or os.path.commonpath([boundary, real]) == boundary:
            return None
        return "unsafe_path", f"a link leads to {real}, outside {boundary}; source.follow_links = true allows it"

    def _fault_of_link(
        self, entry: os.DirEntry[str], above: tuple[_Identity, ...], followed: set[_Identity]
    ) -> tuple[str, str] | None:
        try:
            status = entry.stat()
        except OSError as error:
            return "unreadable", f"a link to {_target(entry)}: {error.strerror}"
        if fault := self._fault_of_target(entry.path):
            return fault
        if stat.S_ISDIR(status.st_mode):
            identity = (status.st_dev, status.st_ino)
            if identity in above or identity in followed:
                return "unsafe_path", f"a link to {_target(entry)}, whose files are read already"
            followed.add(identity)
        elif not stat.S_ISREG(status.st_mode):
            return "unsafe_path", f"a link to {_target(entry)}, which is neither a file nor a folder"
        return None


def _target(entry: os.DirEntry[str]) -> str:
    return str(Path(entry.path).readlink())
