"""The file that a checkpoint is, held to what torch writes of ours before torch reads it.

A checkpoint may come from somebody else. torch's restricted unpickler runs no code, but it lets a few bytes ask for any
amount of memory, and it reads the archive by other rules than Python's zipfile: what is checked here is only what torch
reads if the file allows of one reading.
"""

import io
import pickletools
import re
import struct
from collections.abc import Iterator
from pickle import UnpicklingError
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import torch

_MEMBER = re.compile(r"[\w-]+/(data\.pkl|byteorder|version|\.format_version|\.storage_alignment|data/\d+|\.data/\w+)")
_START = b"PK\x03\x04"
"""torch takes what starts otherwise for its older format, whatever archive comes behind."""

_GLOBALS = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_tensor_v2"
    r"|torch (Double|Float|Half|BFloat16|Long|Int|Short|Char|Byte|Bool)Storage"
)
_OTHER_GLOBALS = ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4")
"""Further ways of a pickle to name something; a name may be put together where it cannot be seen."""


def refuse_foreign(content: bytes) -> None:
    """Raise BadZipFile, UnpicklingError or what else zipfile and pickletools do, unless torch may have written it."""
    with ZipFile(io.BytesIO(content)) as archive:  # torch itself does not look at the members' checksums
        members = archive.infolist()
        if any(member.compress_type != ZIP_STORED for member in members):
            raise BadZipFile("it is packed, and could be of any size; torch packs nothing")
        if sum(max(member.file_size, member.compress_size) for member in members) > len(content):
            raise BadZipFile("its members overlap, and could be of any size together")
        names = [member.orig_filename for member in members]
        if strange := next((name for name in names if not _MEMBER.fullmatch(name)), None):
            raise BadZipFile(f"it has {strange!r}, which torch does not write")
        if len({name.partition("/")[2] for name in names}) < len(names):
            raise BadZipFile("it has two members of one name")
        if not content.startswith(_START) or _directory_at(content) != archive.start_dir:
            raise BadZipFile("its start or its end is not as torch writes it")
        if damaged := archive.testzip():
            raise BadZipFile(f"the checksum of {damaged} differs")
        pickled = archive.read(f"{names[0].partition('/')[0]}/data.pkl")
    if strange := next((name for name in _globals(pickled) if not _GLOBALS.fullmatch(name)), None):
        raise UnpicklingError(f"its pickle names {strange}, which no checkpoint of ours has")


def _directory_at(content: bytes) -> int:
    """Where the archive's last records, in the form that torch writes, say that its directory begins; -1 without them.

    zipfile goes by where those records lie, torch by what they say.
    """
    record_at = len(content) - 98
    if record_at < 0:
        return -1
    record, locator, end = content[record_at:-42], content[-42:-22], content[-22:]
    signatures = (record[:4], locator[:4], end[:4]) == (b"PK\x06\x06", b"PK\x06\x07", b"PK\x05\x06")
    size, start = struct.unpack("<QQ", record[40:])
    small = struct.unpack("<II", end[12:20])
    agree = all(one in (same, 0xFFFFFFFF) for one, same in zip(small, (size, start), strict=True))
    if signatures and agree and start + size == record_at and struct.unpack("<Q", locator[8:16])[0] == record_at:
        return int(start)
    return -1


def _globals(pickled: bytes) -> Iterator[str]:
    """What a pickle names of Python's modules: `module name`."""
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name == "GLOBAL":
            yield str(argument)
        elif opcode.name in _OTHER_GLOBALS:
            yield f"something by {opcode.name}"


def refuse_repeated(tree: Any) -> None:
    """Raise UnpicklingError if a tensor in dicts, lists and tuples has more values than its storage: a few bytes,
    repeated, that a copy would write out."""
    for tensor in _tensors(tree):
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise UnpicklingError(f"it has a tensor of {tensor.numel():,} values that are not all in the file")


def _tensors(tree: Any) -> Iterator[torch.Tensor]:
    seen, waiting = set[int](), [tree]  # a hostile tree may be deep, or have the same branch in many places
    while waiting:
        if id(one := waiting.pop()) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, torch.Tensor):
            yield one
        elif isinstance(one, dict):
            waiting.extend(one.values())
        elif isinstance(one, list | tuple):
            waiting.extend(one)
