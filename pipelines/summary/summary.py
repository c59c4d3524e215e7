"""One network's summary: its rows, their totals, and the memory that an image and a training step take."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

import models
from pipelines.config import InputError
from pipelines.summary.inputs import Input
from pipelines.summary.trace import Row, kept_for_backward, trace

BYTES = 4
"""Of a float32, in which activations, parameters, gradients and momentum are counted."""


@dataclass(frozen=True)
class Summary:
    """What `trace` found, for one input and one batch size."""

    name: str
    input: Input
    batch_size: int
    rows: tuple[Row, ...]
    depth: int
    """Layers with weights on the longest way from image to logits."""
    trained_parameters: int
    """All parameters: those of the rows and those that only training uses, as auxiliary heads."""
    kept_bytes: int
    """Kept for the backward pass of one batch."""

    @property
    def activations(self) -> int:
        return sum(row.activations for row in self.rows)

    @property
    def weights(self) -> int:
        return sum(row.weights for row in self.rows)

    @property
    def biases(self) -> int:
        return sum(row.biases for row in self.rows)

    @property
    def parameters(self) -> int:
        return self.weights + self.biases

    @property
    def multiply_adds(self) -> int:
        return sum(row.multiply_adds for row in self.rows)

    @property
    def forward_bytes(self) -> int:
        """Of one image: the output of every row."""
        return BYTES * self.activations

    @property
    def training_bytes(self) -> int:
        """Of one batch: activations kept for backward, parameters, gradients, momentum."""
        return self.kept_bytes + 3 * BYTES * self.trained_parameters

    def rules(self) -> list[str]:
        """Where the output-size rule does not divide: the layers, the numbers, and what becomes of the rest."""
        layers: dict[str, list[str]] = {}
        for row in self.rows:
            for rule in row.rules:
                layers.setdefault(rule, []).append(f"{row.module or 'the network itself'} ({row.label})")
        return [f"{', '.join(found)}: {rule}" for rule, found in layers.items()]


def summarize(name: str, network: nn.Module, given: Input, batch_size: int) -> Summary:
    """Of a network as it is; it is neither run nor changed. An InputError if it cannot take such images."""
    try:
        rows, depth = trace(network, given.channels, given.size)
    except RuntimeError as error:
        raise InputError(f"input_size: {name} cannot take images of {given.shown}: {error}; give another") from None
    try:
        kept = kept_for_backward(network, given.channels, given.size, batch_size)
    except ValueError as error:  # batch normalisation of one position in one image
        raise InputError(f"batch_size = {batch_size}: {name} cannot train on it: {error}; give a larger one") from None
    trained = sum(parameter.numel() for parameter in network.parameters())
    return Summary(name, given, batch_size, tuple(rows), depth, trained, kept)


def summarize_named(name: str, batch_size: int, given: Input, options: Mapping[str, Any]) -> Summary:
    """Of the network of that name in `models`, built for that input."""
    return summarize(name, weightless(name, given, options), given, batch_size)


def weightless(name: str, given: Input, options: Mapping[str, Any]) -> nn.Module:
    """The network of that name without memory for its weights; an InputError if it cannot be built so."""
    try:
        with torch.device("meta"):
            return models.create(name, given.classes, given.channels, given.size, **options)
    except models.SizeError as error:
        raise InputError(f"input_size: {error}") from None
    except ValueError as error:
        raise InputError(str(error).replace("model.", "")) from None
