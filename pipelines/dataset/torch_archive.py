"""The archives that torch writes, checkpoints and exported graphs, held to its own form before torch reads them.

They may come from somebody else, and torch reads an archive by other rules than Python's zipfile: what is checked of
one is only what torch reads if the file allows of one reading.
"""

import io
import pickletools
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pickle import UnpicklingError
from typing import IO
from zipfile import ZIP_STORED, BadZipFile, ZipFile

_START = b"PK\x03\x04"
"""torch takes what starts otherwise for its older format, whatever archive comes behind."""

_OF_TENSORS = r"data\.pkl|byteorder|version|\.format_version|\.storage_alignment|data/\d+|\.data/\w+"
_GLOBALS = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_tensor_v2"
    r"|torch (Double|Float|Half|BFloat16|Long|Int|Short|Char|Byte|Bool)Storage"
)
_OTHER_GLOBALS = ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4")
"""Further ways of a pickle to name something; a name may be put together where it cannot be seen."""


@contextmanager
def torch_archive(file: IO[bytes], member: str) -> Iterator[ZipFile]:
    """Open, with all checksums right. member: a pattern of the names that may be there, without the folder they are in.

    Raises BadZipFile, or what else zipfile does, unless torch may have written it.
    """
    with ZipFile(file) as archive:  # torch itself does not look at the members' checksums
        members = archive.infolist()
        if any(one.compress_type != ZIP_STORED for one in members):
            raise BadZipFile("it is packed, and could be of any size; torch packs nothing")
        if sum(max(one.file_size, one.compress_size) for one in members) > file.seek(0, 2):
            raise BadZipFile("its members overlap, and could be of any size together")
        names = [one.orig_filename for one in members]
        if strange := next((name for name in names if not re.fullmatch(rf"[\w-]+/(?:{member})", name)), None):
            raise BadZipFile(f"it has {strange!r}, which torch does not write")
        if len({name.partition("/")[2] for name in names}) < len(names):
            raise BadZipFile("it has two members of one name")
        if any(one.external_attr for one in members):
            raise BadZipFile(
                "a member has attributes; torch writes none, and takes what is marked as a folder for empty"
            )
        file.seek(0)
        if file.read(len(_START)) != _START or _directory_at(file) != archive.start_dir:
            raise BadZipFile("its start or its end is not as torch writes it")
        if damaged := archive.testzip():
            raise BadZipFile(f"the checksum of {damaged} differs")
        yield archive


def content_of(archive: ZipFile, name: str) -> bytes:
    """Of the member of that name, without the folder it is in."""
    found = next((one for one in archive.namelist() if one.partition("/")[2] == name), None)
    if found is None:
        raise BadZipFile(f"it has no {name}")
    return archive.read(found)


def refuse_foreign_tensors(content: bytes) -> None:
    """Raise BadZipFile, UnpicklingError or what else zipfile and pickletools do, unless it may be `torch.save`'s of
    tensors in Python's own containers."""
    with torch_archive(io.BytesIO(content), _OF_TENSORS) as archive:
        pickled = content_of(archive, "data.pkl")
    if strange := next((name for name in _globals(pickled) if not _GLOBALS.fullmatch(name)), None):
        raise UnpicklingError(f"its pickle names {strange}, which none of ours does")


def _globals(pickled: bytes) -> Iterator[str]:
    """What a pickle names of Python's modules: `module name`."""
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name == "GLOBAL":
            yield str(argument)
        elif opcode.name in _OTHER_GLOBALS:
            yield f"something by {opcode.name}"


def _directory_at(file: IO[bytes]) -> int:
    """Where the archive's last records, in the form that torch writes, say that its directory begins; -1 without them.

    zipfile goes by where those records lie, torch by what they say.
    """
    record_at = file.seek(0, 2) - 98
    if record_at < 0:
        return -1
    file.seek(record_at)
    records = file.read()
    record, locator, end = records[:-42], records[-42:-22], records[-22:]
    signatures = (record[:4], locator[:4], end[:4]) == (b"PK\x06\x06", b"PK\x06\x07", b"PK\x05\x06")
    size, start = struct.unpack("<QQ", record[40:])
    small = struct.unpack("<II", end[12:20])
    agree = all(one in (same, 0xFFFFFFFF) for one, same in zip(small, (size, start), strict=True))
    if signatures and agree and start + size == record_at and struct.unpack("<Q", locator[8:16])[0] == record_at:
        return int(start)
    return -1
