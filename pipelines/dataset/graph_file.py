"""The file of an exported graph (.pt2), held to what torch writes of our networks before torch reads it.

It may come from somebody else, and torch trusts it: it calls what the file names as an operation of a node, evaluates
its symbolic sizes and runs its guards, all as Python. MLflow looks at its pickles alone.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from pipelines.dataset.torch_archive import content_of, torch_archive

_MEMBER = (
    r"models/model\.json|data/weights/(weight_\d+|model_weights_config\.json)|data/sample_inputs/model\.pt"
    r"|data/constants/(tensor_\d+|model_constants_config\.json)|archive_format|archive_version|byteorder|version|\.data/\w+"
)
_TYPES = ("builtins.tuple", "builtins.list", "builtins.dict", None)
"""Of the containers around inputs and outputs."""


def _matches(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


_ARGUMENTS = {
    f"as_{kind}"
    for kind in (
        "none", "tensor", "tensors", "int", "ints", "float", "floats", "bool", "bools", "sym_int", "sym_ints", "expr",
        "scalar_type", "memory_format", "layout", "device", "optional_tensor", "optional_tensors",
    )
}  # fmt: skip
"""What operations may be given: no operations, graphs, objects or strings."""
_ALLOWED: dict[str, Callable[[Any], bool]] = {
    "target": _matches(r"torch\.ops\.aten\.(?!\w*file)\w+\.\w+"),
    "expr_str": _matches(r"(Symbol\('s\d+'(, \w+=True)*\)|Add|Mul|Integer|[-+*/(), \d])+"),
    "range_constraints": lambda ranges: all(map(_matches(r"s\d+"), ranges)),
    "guards_code": lambda guards: guards == [],
    "verifiers": lambda verifiers: verifiers == ["TRAINING"],
    "use_pickle": lambda used: used is False,
    "path_name": _matches(r"(weight|tensor)_\d+"),
    "in_spec": lambda spec: _is_plain(json.loads(spec)),
    "out_spec": lambda spec: _is_plain(json.loads(spec)),
    "metadata": lambda told: set(told) <= {"stack_trace", "nn_module_stack", "torch_fn"},
}
"""By its key, wherever that is: of what is in the graph as JSON, all that torch does not take as it is."""


def refuse_foreign_graph(path: Path) -> None:
    """Raise BadZipFile or ValueError, or what else zipfile does, unless it may be one of a network of ours."""
    with path.open("rb") as file, torch_archive(file, _MEMBER) as archive:
        for name in (
            "models/model.json", "data/weights/model_weights_config.json", "data/constants/model_constants_config.json",
        ):  # fmt: skip
            try:
                tree = json.loads(content_of(archive, name))
                strange = next(_strange(tree), None)
            except (ValueError, TypeError, AttributeError, RecursionError):
                raise BadZipFile(f"its {name} is not as torch writes it") from None
            if strange:
                raise ValueError(f"its {name} has {strange}, which no graph of our networks has")


def _strange(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            if key.startswith("as_") and key not in _ARGUMENTS:
                yield key
            if key in _ALLOWED and not _ALLOWED[key](value):
                yield f"{key} {str(value)[:80]!r}"
            yield from _strange(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _strange(value)


def _is_plain(spec: Any) -> bool:
    """Whether the containers are Python's own, of which nothing has to be imported."""
    if isinstance(spec, list):
        return all(isinstance(part, int) or _is_plain(part) for part in spec)
    return spec["type"] in _TYPES and spec["context"] in ("null", None, "[]") and _is_plain(spec["children_spec"])
