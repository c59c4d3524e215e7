"""Follows one image of zeros, without memory for its pixels, through a network and writes a row for each layer.

The network is copied to torch's meta device, whose tensors have shapes and no contents, so ResNet-152 costs nothing.
Forward hooks say which module is at work; a torch function mode sees what it calls, so layers that a module writes as
functions (a residual sum, a concatenation) and modules that nobody foresaw are counted, too.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode

from models.sizes import Size
from pipelines.summary.operations import Operation, operation
from pipelines.summary.windows import Field

_FLATTENING = ("flatten", "view", "reshape", "squeeze", "mean", "amax")


@dataclass(frozen=True)
class Row:
    """One layer at work on one image."""

    module: str
    """Its path in the network, which names the block it is in; empty for the input and the network's own sums."""
    label: str
    """INPUT, CONV3-64, POOL2, FC 4096 …"""
    filter: str
    """Size, stride, padding, groups of a window."""
    volume: tuple[int, int, int]
    """Height, width, channels of its output."""
    weights: int
    biases: int
    multiply_adds: int
    fields: tuple[Field, Field]
    """What a position of its output sees of the input, along height and width."""
    rules: tuple[str, ...] = ()
    """The output-size rule where it does not divide, with the numbers and what the layer does with the rest."""

    @property
    def activations(self) -> int:
        return prod(self.volume)


@dataclass(frozen=True)
class _Seen:
    """What is known of a tensor that depends on the image."""

    fields: tuple[Field, Field] = (Field(), Field())
    depth: int = 0
    """Layers with weights on the longest way here."""


@dataclass
class _Call:
    """A call of a module that has not returned."""

    path: str
    module: nn.Module
    operations: list[Operation] = field(default_factory=list)


class _Watch(TorchFunctionMode):
    """Writes `rows` while a network runs."""

    def __init__(self, network: nn.Module, image: Tensor) -> None:
        super().__init__()
        self.rows: list[Row] = []
        self.depth = 0
        self._calls: list[_Call] = []
        self._counted: set[nn.Parameter] = set()
        self._tensors: dict[int, tuple[Tensor, _Seen]] = {}  # holds the tensors, so that no id is used twice
        self._mark(image, _Seen())
        self._write(_Call("", nn.Identity()), Operation("pad", "INPUT"), image)
        for path, module in network.named_modules():
            module.register_forward_pre_hook(lambda module, _, path=path: self._enter(path, module))
            module.register_forward_hook(lambda module, given, output: self._leave(given, output))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if self._calls:
            self._record(getattr(func, "__name__", ""), args, kwargs or {}, output)
        return output

    def _enter(self, path: str, module: nn.Module) -> None:
        self._calls.append(_Call(path, module))

    def _leave(self, given: Any, output: Any) -> None:
        call = self._calls.pop()
        result, leaf = next(_tensors(output)), next(call.module.children(), None) is None
        arithmetic = leaf and not call.operations and result.numel() != next(_tensors(given)).numel()
        if _is_one_row(call.module) or arithmetic:  # such as LeNet-5's distances to fixed codes
            self._write(call, _merged(call), result)

    def _record(self, name: str, args: Sequence[Any], kwargs: dict[str, Any], output: Any) -> None:
        inputs = [tensor for tensor in _tensors((args, kwargs)) if id(tensor) in self._tensors]
        results = [tensor for tensor in _tensors(output) if tensor.dim() > 1]
        if not inputs or not results:
            return
        seen = [self._tensors[id(tensor)][1] for tensor in inputs]
        found = operation(name, args, kwargs, results[0])
        if found and found.kind == "add" and len(inputs) < 2:
            found = None
        fields = _joined(seen)
        if found and found.windows:
            rows, columns = found.windows
            fields = rows.field(fields[0]), columns.field(fields[1])
        elif name in _FLATTENING and inputs[0].dim() == 4 and results[0].dim() == 2:
            fields = fields[0].over(inputs[0].shape[2]), fields[1].over(inputs[0].shape[3])
        deeper = found is not None and found.kind in ("conv", "fc")
        self.depth = max(self.depth, depth := max(known.depth for known in seen) + deeper)
        for tensor in results:
            self._mark(tensor, _Seen(fields, depth))
        if found and found.kind != "pad":
            self._place(found, results[0])

    def _place(self, found: Operation, output: Tensor) -> None:
        """Into the row of the module that is at work, or into a row of its own."""
        call = self._calls[-1]
        call.operations.append(found)
        if not _is_one_row(call.module):
            self._write(call, found, output)

    def _mark(self, tensor: Tensor, seen: _Seen) -> None:
        self._tensors[id(tensor)] = (tensor, seen)

    def _write(self, call: _Call, found: Operation, output: Tensor) -> None:
        weights = biases = 0
        for name, parameter in call.module.named_parameters(recurse=False):
            if parameter not in self._counted:
                self._counted.add(parameter)
                if name.endswith("bias"):
                    biases += parameter.numel()
                else:
                    weights += parameter.numel()
        fields = self._tensors[id(output)][1].fields if id(output) in self._tensors else (Field(), Field())
        rules = dict.fromkeys(window.rule() for window in found.windows or ())
        self.rows.append(
            Row(
                call.path, found.label, found.filter, _volume(output), weights, biases, found.multiply_adds, fields,
                tuple(rule for rule in rules if rule),
            )
        )  # fmt: skip


def trace(network: nn.Module, channels: int, size: Size) -> tuple[list[Row], int]:
    """The rows of one image's way through the network in evaluation, and the layers with weights on the longest way.

    Raises RuntimeError where the network cannot take such an image.
    """
    copied, image = on_meta(network).eval(), torch.zeros(1, channels, *size, device="meta")
    with torch.no_grad(), _Watch(copied, image) as watch:
        copied(image)
    return watch.rows, watch.depth


def kept_for_backward(network: nn.Module, channels: int, size: Size, batch_size: int) -> int:
    """Bytes that autograd keeps between forward and backward of a training step, besides parameters and buffers.

    Counted from what autograd saves, each piece of memory once: inputs of convolutions and fully connected layers,
    outputs of rectifiers, positions of maxima, masks of dropout.
    """
    copied = on_meta(network).train()
    images = torch.zeros(batch_size, channels, *size, device="meta")
    own = {_storage(tensor) for tensor in (*copied.parameters(), *copied.buffers())}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in own:
            kept[_storage(tensor)] = tensor.detach()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        output = copied(images)
    del output
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def on_meta(network: nn.Module) -> nn.Module:
    """A copy without contents; the network itself is neither changed nor copied in memory."""
    memo: dict[int, Any] = {}
    for tensor in network.parameters():
        memo[id(tensor)] = nn.Parameter(torch.empty_like(tensor, device="meta"), tensor.requires_grad)
    for buffer in network.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(network, memo)


def _is_one_row(module: nn.Module) -> bool:
    """Whatever it calls: one with weights of its own, or a normalisation that is made of arithmetic."""
    return any(True for _ in module.parameters(recurse=False)) or "Norm" in type(module).__name__


def _merged(call: _Call) -> Operation:
    """All that one module did, under the name of the call that a learner would name it by."""
    ranked = ("conv", "fc", "pool", "norm")
    named = [found for found in call.operations if found.kind in ranked]
    if not named:
        kind = type(call.module).__name__
        return Operation("norm", "NORM" if "Norm" in kind else kind.upper())
    chief = min(named, key=lambda found: ranked.index(found.kind))
    return replace(chief, multiply_adds=sum(found.multiply_adds for found in named))


def _joined(seen: Sequence[_Seen]) -> tuple[Field, Field]:
    (rows, columns), *others = [known.fields for known in seen]
    for other in others:
        rows, columns = rows.joined(other[0]), columns.joined(other[1])
    return rows, columns


def _volume(tensor: Tensor) -> tuple[int, int, int]:
    channels, height, width = (*tensor.shape[1:], 1, 1)[:3]
    return height, width, channels


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _tensors(value: Any) -> Iterator[Tensor]:
    """All tensors in arguments or results."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, dict):
        yield from _tensors(tuple(value.values()))
