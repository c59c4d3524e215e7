"""What lies where in a tar, by its headers alone: no byte of a member is read, nothing is extracted.

Formats: V7, USTAR, GNU and PAX (POSIX.1-2001, "pax Interchange Format"; GNU tar's manual, "Basic Tar Format"). Python's
tarfile would do, at four times the time a member.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple
from zlib import adler32

from pipelines.config import InputError
from pipelines.dataset.storage import Location
from pipelines.preprocess.sources.names import leads_out

BLOCK_BYTES = 512
_END = bytes(BLOCK_BYTES)
_FILE = "file"
_KINDS = {
    b"0": _FILE,
    b"\0": _FILE,
    b"7": _FILE,
    b"1": "link",
    b"2": "link",
    b"3": "device",
    b"4": "device",
    b"5": "folder",
    b"6": "device",
    b"S": "sparse file",
}
_WITHOUT_DATA = ("link", "device", "folder")
_EXTENSIONS = b"xXgLK"
_MOST_EXTENSION_BYTES = 1 << 20
_WINDOW_BYTES = 16 << 10

ReadAt = Callable[[int, int], bytes]
"""`read(size, offset)`: at most `size` bytes, fewer only where the file ends."""


class Member(NamedTuple):
    """One thing in a tar."""

    name: str
    kind: str
    """file, folder, link, device, sparse file or unknown."""
    offset: int
    """First byte of its content in the outermost file."""
    size_bytes: int

    @property
    def fault(self) -> str | None:
        """Why it must not be read as a file; None if it may, or is a folder."""
        if leads_out(self.name):
            return "its name leads out of the tar"
        return None if self.kind in (_FILE, "folder") else f"it is no file but a {self.kind}"


@contextmanager
def reading(tar: Location) -> Iterator[ReadAt]:
    """A way to read small pieces of a file. Threads may share it; each walk through a far file keeps its own window."""
    if tar.is_local:
        descriptor = os.open(tar.path, os.O_RDONLY)
        try:
            if hasattr(os, "posix_fadvise"):  # headers lie far apart: what follows one is not worth reading ahead
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
            yield lambda size, offset: os.pread(descriptor, size, offset)
        finally:
            os.close(descriptor)
    else:
        with tar.open() as file:
            yield lambda size, offset: bytes(file.read_at(size, offset))


class Window:
    """Asks a far store for a little more than it needs, so that small members cost no request each."""

    def __init__(self, read: ReadAt) -> None:
        self._read = read
        self._start = 0
        self._content = b""

    def __call__(self, size: int, offset: int) -> bytes:
        first = offset - self._start
        if first < 0 or first + size > len(self._content):
            self._content = self._read(max(size, _WINDOW_BYTES), offset)
            self._start, first = offset, 0
        return self._content[first : first + size]


def members(read: ReadAt, tar: str, start: int, size_bytes: int) -> Iterator[Member]:
    """All members of the tar that fills `size_bytes` from `start` on, in its order.

    tar: what errors call it. An InputError names the byte at which a header is damaged or the tar ends too early.
    """
    end = start + size_bytes
    position = start
    everywhere: dict[str, str] = {}
    once: dict[str, str] = {}
    while True:
        header = read(BLOCK_BYTES, position) if position + BLOCK_BYTES <= end else b""
        if len(header) < BLOCK_BYTES:
            raise InputError(f"{tar}: ends at byte {min(position, end)} without a tar's end mark; copy it again")
        if header == _END:
            if once:
                raise _damaged(tar, position, "a header is announced, but the tar ends")
            return
        size, kind = _size_and_kind(header, tar, position)
        data = position + BLOCK_BYTES
        if kind in _EXTENSIONS:
            position = _next_header(data, size, end, tar)
            (everywhere if kind == b"g" else once).update(_extension(kind, size, data, read, tar))
            continue
        member = _member(header, kind, data, size, everywhere | once if once or everywhere else once, tar)
        if kind == b"S":
            data = _after_sparse_map(header, data, read)
        position = _next_header(data, 0 if member.kind in _WITHOUT_DATA else member.size_bytes, end, tar)
        once = {}
        yield member


def _size_and_kind(header: bytes, tar: str, position: int) -> tuple[int, bytes]:
    """From a header whose checksum is right."""
    try:
        expected = _number(header[148:156])
        size = _number(header[124:136])
    except ValueError:
        raise _damaged(tar, position, "a number in it is no number") from None
    if expected != _sum(header) and expected != _signed_sum(header):
        raise _damaged(tar, position, "its checksum is wrong")
    return size, header[156:157]


def _sum(header: bytes) -> int:
    """Of all bytes, with the checksum's own field as blanks.

    adler32's lower half is 1 + the sum modulo 65521, so exact for 256 bytes; `sum` takes longer than all else here.
    """
    checksum_field = sum(header[148:156])
    return (adler32(header[:256]) & 0xFFFF) + (adler32(header[256:]) & 0xFFFF) - 2 - checksum_field + 8 * ord(" ")


def _signed_sum(header: bytes) -> int:
    """As tars of old compare it, whose bytes above 127 are negative."""
    return _sum(header) - 256 * sum(byte > 127 for byte in header[:148] + header[156:])


def _number(field: bytes) -> int:
    """Octal digits, or two's complement to the base 256 with the highest bit as its mark (GNU)."""
    if field[0] in (0x80, 0xFF):
        value = int.from_bytes(field[1:], "big", signed=False) - (256 ** (len(field) - 1) if field[0] == 0xFF else 0)
    else:
        value = int(field.partition(b"\0")[0].strip() or b"0", 8)
    if value < 0:
        raise ValueError
    return value


def _member(header: bytes, kind: bytes, data: int, size: int, overrides: dict[str, str], tar: str) -> Member:
    name = header[:100].partition(b"\0")[0].decode(errors="backslashreplace")
    # Only POSIX has a prefix: where GNU's magic ends in blanks, times may stand in its place.
    if header[345] and header[257:263] == b"ustar\0":
        name = header[345:500].partition(b"\0")[0].decode(errors="backslashreplace") + "/" + name
    named = _KINDS.get(kind, "unknown")
    if overrides:
        name = overrides.get("path", name)
        if "size" in overrides:
            if not overrides["size"].isdecimal():
                raise _damaged(tar, data - BLOCK_BYTES, f"its size is {overrides['size']!r}")
            size = int(overrides["size"])
        if any(key.startswith("GNU.sparse.") for key in overrides):
            named = "sparse file"
    if kind == b"\0" and name.endswith("/"):
        named = "folder"
    return Member(name.rstrip("/") if named == "folder" else name, named, data, size)


def _next_header(data: int, size: int, end: int, tar: str) -> int:
    if data + size > end:
        raise InputError(f"{tar}: ends at byte {end}, but a member goes on to byte {data + size}; copy it again")
    return data + -(-size // BLOCK_BYTES) * BLOCK_BYTES


def _extension(kind: bytes, size: int, data: int, read: ReadAt, tar: str) -> dict[str, str]:
    """What a header in front of a member's own says about it."""
    if size > _MOST_EXTENSION_BYTES:
        raise _damaged(tar, data - BLOCK_BYTES, f"its name would take {size} bytes")
    content = read(size, data)
    if kind == b"K":
        return {"linkpath": ""}
    if kind == b"L":
        return {"path": content.partition(b"\0")[0].decode(errors="backslashreplace")}
    try:
        return dict(_pax_records(content))
    except ValueError:
        raise _damaged(tar, data, "a PAX record is malformed") from None


def _pax_records(content: bytes) -> Iterator[tuple[str, str]]:
    """Of `30 path=n01440764/n01440764_18.JPEG\\n` and the like, where 30 counts the whole record."""
    position = 0
    while position < len(content) and content[position]:
        digits = content[position:].partition(b" ")[0]
        length = int(digits)
        record = content[position + len(digits) + 1 : position + length]
        key, separator, value = record.partition(b"=")
        if not separator or value[-1:] != b"\n" or position + length > len(content):
            raise ValueError
        yield key.decode(errors="backslashreplace"), value[:-1].decode(errors="backslashreplace")
        position += length


def _after_sparse_map(header: bytes, data: int, read: ReadAt) -> int:
    """GNU's sparse files have further blocks of their map before the content."""
    more = header[482]
    while more:
        block = read(BLOCK_BYTES, data)
        more = block[504] if len(block) == BLOCK_BYTES else 0
        data += BLOCK_BYTES
    return data


def _damaged(tar: str, position: int, why: str) -> InputError:
    return InputError(f"{tar}: the header at byte {position} is damaged ({why}); copy the tar again")
