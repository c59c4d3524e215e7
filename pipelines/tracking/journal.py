"""A file that only grows, of entries that are each whole or not there, whenever their writer is killed."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from zlib import crc32

from pipelines.config import InputError

LOCK_WAIT_S = 30
"""For another process to end that writes to the same journal: one that is being killed, or was rank 0 until now."""


@dataclass(frozen=True)
class Line:
    """One entry as it lies in the file."""

    tree: Any
    """None: damaged, such as by a disk that lost power."""
    end: int
    """Bytes from the file's start to the entry's end."""


class Journal:
    """One process's hold on a journal, to append to it: nobody else can until it is closed, or its process has ended.

    An append is one write, which neither waits for the disk nor is sure to survive a power cut: `read_durable` sees to
    that before anything is sent.
    """

    def __init__(self, path: Path, wait_s: float = LOCK_WAIT_S) -> None:
        """Raises InputError if another process holds it for longer than `wait_s`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = path.open("a+b", buffering=0)
        try:
            lock(self._file, path, wait_s)
            self._file.truncate(_end_of_last_line(self._file))  # whoever wrote what is behind it was killed at it
        except BaseException:
            self._file.close()
            raise

    def append(self, tree: Any) -> None:
        """Raises InputError if the disk does not take it: it is full, or gone."""
        text = json.dumps(tree, separators=(",", ":")).encode()
        line = b"%08x %s\n" % (crc32(text), text)
        before = self._file.seek(0, os.SEEK_END)
        try:
            if self._file.write(line) != len(line):
                raise OSError("no space left on the device")
        except OSError as error:
            self._file.truncate(before)
            raise InputError(f"{self._path}: cannot be written: {error.strerror or error}") from None

    def close(self) -> None:
        self._file.close()


def lock(file: BinaryIO, path: Path, wait_s: float) -> None:
    """Keep an open file to this process until it is closed; an InputError if another process holds it for so long."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise InputError(f"{path}: another process is at it; wait for it, or end it") from None
            time.sleep(0.05)


def read(path: Path, start: int = 0) -> Iterator[Line]:
    """The whole lines from that byte on; none if there is no such file."""
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(start)
        end = start
        for line in file:
            if not line.endswith(b"\n"):
                return
            end += len(line)
            yield Line(_tree(line), end)


def read_durable(path: Path, start: int) -> Iterator[Line]:
    """The same, but for what is appended meanwhile: all of it would survive a power cut."""
    if not path.exists():
        return
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size > start:
            os.fsync(file.fileno())
    for line in read(path, start):
        if line.end > size:
            return
        yield line


def _tree(line: bytes) -> Any:
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    try:
        return json.loads(text) if int(checksum, 16) == crc32(text) else None
    except (ValueError, RecursionError):  # the latter of brackets in brackets, by the thousand, of a planted journal
        return None


def _end_of_last_line(file: BinaryIO, block_bytes: int = 1 << 16) -> int:
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - block_bytes)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
