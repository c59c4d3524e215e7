"""Activation checkpointing: less memory for activations, which the backward pass computes a second time."""

import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models.classifier import Classifier
from pipelines.config import InputError


def recompute_blocks(model: Classifier, name: str) -> None:
    """Keep for the backward pass only what goes into each stage of a VGG or each block of a ResNet (Chen et al. 2016).

    In place; weights keep their names, gradients and running statistics stay what they were.
    Raises InputError if `name`, the network's, is of another family.
    """
    network = model.network
    layers = OrderedDict(network.named_children())
    if name.startswith("vgg_"):
        model.network = RecomputedSequential(layers, _vgg_stages(layers))
    elif stages := [key for key in layers if re.fullmatch(r"conv\d_x", key)]:
        for key in stages:
            blocks = OrderedDict(layers[key].named_children())
            setattr(network, key, RecomputedSequential(blocks, [[block] for block in blocks.values()]))
    else:
        raise InputError(
            f"activation_checkpointing = true is for VGG and ResNet networks, and model.name = {name} is neither: "
            "leave it out"
        )


def _vgg_stages(layers: "OrderedDict[str, nn.Module]") -> list[list[nn.Module]]:
    """Layers up to each pooling."""
    stages: list[list[nn.Module]] = [[]]
    for name, layer in layers.items():
        stages[-1].append(layer)
        if name.startswith("pool"):
            stages.append([])
    return stages[:-1]


class RecomputedSequential(nn.Sequential):
    """The same layers in the same order, the first of them in segments that are computed anew for their gradients."""

    def __init__(self, layers: "OrderedDict[str, nn.Module]", segments: Sequence[Sequence[nn.Module]]) -> None:
        super().__init__(layers)
        self._lengths = [len(segment) for segment in segments]

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training and torch.is_grad_enabled()):
            result: Tensor = super().forward(input)  # type: ignore[no-untyped-call]  # torch left it untyped
            return result
        rest = list(self)
        for length in self._lengths:
            segment, rest = nn.Sequential(*rest[:length]), rest[length:]
            input = checkpoint(segment, input, use_reentrant=False, context_fn=partial(_contexts, segment))
        for layer in rest:
            input = layer(input)
        return input


def _contexts(segment: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """For the first computing, and for the second."""
    return nullcontext(), statistics_kept(segment)


@contextmanager
def statistics_kept(segment: nn.Module) -> Iterator[None]:
    """What layers follow, such as running statistics, they follow in copies that are thrown away afterwards.

    For it has followed these images already.
    """
    layers = [layer for layer in segment.modules() if layer._buffers]
    kept = [layer._buffers for layer in layers]
    for layer in layers:
        layer._buffers = {name: None if at is None else at.clone() for name, at in layer._buffers.items()}
    try:
        yield
    finally:
        for layer, buffers in zip(layers, kept, strict=True):
            layer._buffers = buffers
