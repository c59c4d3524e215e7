"""The file of an exported graph (.pt2), held to what torch writes of our networks before torch reads it.

It may come from somebody else, and torch trusts it: it calls what the file names as an operation of a node, evaluates
its symbolic sizes, runs its guards, and makes of the names in it the text of a function, all of which is Python; and it
unpickles without restriction what its restricted unpickler refuses.
"""

import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from torch import nn

from pipelines.dataset.torch_archive import content_of, refuse_foreign_tensors, torch_archive

_MEMBER = (
    r"models/model\.json|data/weights/(weight_\d+|model_weights_config\.json)|data/sample_inputs/model\.pt"
    r"|data/constants/(tensor_\d+|model_constants_config\.json)|archive_format|archive_version|byteorder|version|\.data/\w+"
)
_GRAPH = "models/model.json"
_CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")

OPERATIONS = (
    "_assert_tensor_metadata.default", "adaptive_avg_pool2d.default", "add.Tensor", "addcmul.out",
    "avg_pool2d.default", "batch_norm.default", "cat.default", "conv2d.default", "dropout.default",
    "empty_like.default", "flatten.using_ints", "index_put.default", "linear.default", "matmul.default",
    "max_pool2d.default", "mul.Tensor", "neg.default", "new_zeros.default", "pad.default", "permute.default",
    "pow.Tensor_Scalar", "promote_types.default", "relu.default", "slice.Tensor", "softmax.int", "square.default",
    "stack.default", "sub.Tensor", "sum.dim_IntList", "tanh.default", "to.dtype", "unsqueeze.default",
)  # fmt: skip
"""Of our networks and ensembles, in torch.ops.aten: a new network may need a further one, which must be harmless
whatever it is given. Others of torch's write files."""
_TYPES = ("builtins.tuple", "builtins.list", "builtins.dict", None)
"""Of the containers around inputs and outputs."""
_ARGUMENTS = {
    f"as_{kind}"
    for kind in (
        "none", "tensor", "tensors", "int", "ints", "float", "floats", "bool", "bools", "sym_int", "sym_ints", "expr",
        "scalar_type", "memory_format", "layout", "device", "optional_tensor", "optional_tensors",
    )
}  # fmt: skip
"""What operations may be given: no operations, graphs, objects or strings."""

_NAME, _PATH = r"([A-Za-z_]\w*)?", r"((?!__)\w+(\.(?!__)\w+)*)?"
_TEXTS: dict[str, str] = {
    "target": rf"torch\.ops\.aten\.({'|'.join(map(re.escape, OPERATIONS))})",
    "expr_str": r"(Symbol\('s\d+'(, \w+=True)*\)|Add|Mul|Integer|[-+/(), \d]|\*(?!\*))+",
    "path_name": r"(weight|tensor)_\d+",
    "torch_version": r"[\w.+]*",
    "torch_fn": r"[\w.;]*",
    **dict.fromkeys(("parameter_name", "buffer_name", "tensor_constant_name", "fqn"), _PATH),
    **dict.fromkeys(("in_spec", "out_spec", "stack_trace", "nn_module_stack"), r"(?s:.*)"),
}
"""By the key that a text stands under, what it must match; under all other keys it is a name of Python's, or empty."""
_VALUES: dict[str, Callable[[Any], bool]] = {
    "range_constraints": lambda ranges: all(re.fullmatch(r"s\d+", name) for name in ranges),
    "guards_code": lambda guards: guards == [],
    "verifiers": lambda verifiers: verifiers == ["TRAINING"],
    "use_pickle": lambda used: used is False,
    "in_spec": lambda spec: _is_plain(json.loads(spec)),
    "out_spec": lambda spec: _is_plain(json.loads(spec)),
    "metadata": lambda told: set(told) <= {"stack_trace", "nn_module_stack", "torch_fn"},
}
"""What else holds of the values under a key, wherever that is."""


def load_graph(path: Path) -> nn.Module:
    """The graph in this file; BadZipFile, UnpicklingError or ValueError, or what else zipfile, pickletools and torch
    raise, unless it may be one of a network of ours."""
    with path.open("rb") as file, torch_archive(file, _MEMBER) as archive:
        for name in (_GRAPH, *_CONFIGS):
            _refuse_foreign_json(archive, name)
        inputs = content_of(archive, "data/sample_inputs/model.pt")
        refuse_foreign_tensors(inputs)
        torch.load(
            io.BytesIO(inputs), map_location="cpu", weights_only=True
        )  # what it refuses here, it would run below
    graph: nn.Module = torch.export.load(path).module()
    return graph


def _refuse_foreign_json(archive: ZipFile, name: str) -> None:
    try:
        tree = json.loads(content_of(archive, name))
        strange = next(_strange(tree), None)
        if name == _GRAPH and "verifiers" not in tree:  # torch would verify nothing
            strange = "no verifiers"
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        raise BadZipFile(f"its {name} is not as torch writes it") from None
    if strange:
        raise ValueError(f"its {name} has {strange}, which no graph of our networks has")


def _strange(tree: Any, key: str = "") -> Iterator[str]:
    """key: that the tree stands under, lists left out."""
    if isinstance(tree, str) and not re.fullmatch(_TEXTS.get(key, _NAME), tree, re.ASCII):
        yield f"{key} {tree[:80]!r}"
    elif isinstance(tree, dict):
        for name, value in tree.items():
            if not re.fullmatch(_PATH, name, re.ASCII) or (name.startswith("as_") and name not in _ARGUMENTS):
                yield name[:80]
            if name in _VALUES and not _VALUES[name](value):
                yield f"{name} {str(value)[:80]!r}"
            yield from _strange(value, name)
    elif isinstance(tree, list):
        for value in tree:
            yield from _strange(value, key)


def _is_plain(spec: Any) -> bool:
    """Whether the containers are Python's own, of which nothing has to be imported."""
    if isinstance(spec, list):
        return all(isinstance(part, int) or _is_plain(part) for part in spec)
    return spec["type"] in _TYPES and spec["context"] in ("null", None, "[]") and _is_plain(spec["children_spec"])
