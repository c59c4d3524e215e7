"""The file that a checkpoint is, held to what torch writes of ours before torch reads it.

A checkpoint may come from somebody else. torch's restricted unpickler runs no code, but it lets a few bytes ask for any
amount of memory.
"""

import io
import pickletools
import re
from collections.abc import Iterator
from pickle import UnpicklingError
from typing import Any

import torch

from pipelines.dataset.torch_archive import content_of, torch_archive

_MEMBER = r"data\.pkl|byteorder|version|\.format_version|\.storage_alignment|data/\d+|\.data/\w+"
_GLOBALS = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_tensor_v2"
    r"|torch (Double|Float|Half|BFloat16|Long|Int|Short|Char|Byte|Bool)Storage"
)
_OTHER_GLOBALS = ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4")
"""Further ways of a pickle to name something; a name may be put together where it cannot be seen."""


def refuse_foreign(content: bytes) -> None:
    """Raise BadZipFile, UnpicklingError or what else zipfile and pickletools do, unless torch may have written it."""
    with torch_archive(io.BytesIO(content), _MEMBER) as archive:
        pickled = content_of(archive, "data.pkl")
    if strange := next((name for name in _globals(pickled) if not _GLOBALS.fullmatch(name)), None):
        raise UnpicklingError(f"its pickle names {strange}, which no checkpoint of ours has")


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
