"""What torch's restricted unpickler made of a checkpoint, which may come from somebody else: it runs no code, but it
lets a few bytes ask for any amount of memory."""

from collections.abc import Iterator
from pickle import UnpicklingError
from typing import Any

import torch


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
