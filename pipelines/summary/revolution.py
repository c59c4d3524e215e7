"""The revolution of depth: all networks side by side, with the errors that their papers published."""

from dataclasses import dataclass

import models
from pipelines.summary.inputs import usual_input
from pipelines.summary.published import PUBLISHED, Published, plainest
from pipelines.summary.summary import weightless
from pipelines.summary.table import Cell, Table, rounded
from pipelines.summary.trace import trace


@dataclass(frozen=True)
class Compared:
    """One network at its paper's input."""

    name: str
    pixels: int
    classes: int
    depth: int
    parameters: int
    multiply_adds: int
    published: Published | None

    @property
    def for_imagenet(self) -> bool:
        return self.classes == 1000


def compare() -> list[Compared]:
    """All networks of `models`, in the order of their papers."""
    return [_compared(name) for name in models.names()]


def _compared(name: str) -> Compared:
    given = usual_input(name)
    rows, depth = trace(weightless(name, given, {}), given.channels, given.size)
    parameters = sum(row.weights + row.biases for row in rows)
    price = sum(row.multiply_adds for row in rows)
    return Compared(name, given.size[0], given.classes, depth, parameters, price, plainest(name))


def comparison_table(compared: list[Compared]) -> Table:
    """A row a network."""
    headings = (
        "network", "pixels", "classes", "layers", "parameters", "about", "multiply-adds", "about",
        "top-1 %", "top-5 %", "tested with", "published in",
    )  # fmt: skip
    return Table(
        "The revolution of depth",
        headings,
        tuple(_cells(network) for network in compared),
        (
            "layers: those with weights on the longest way from image to logits; multiply-adds: of one image",
            "errors: as published, on ImageNet's validation images (LeNet-5: MNIST's test images), not measured here; "
            "they are not tested alike, see the column",
        ),
    )


def _cells(network: Compared) -> tuple[Cell, ...]:
    error = network.published
    counts = [cell for count in (network.parameters, network.multiply_adds) for cell in (count, rounded(count, 3))]
    shown = (error.top1, error.top5, error.protocol, error.source) if error else (None,) * 4
    return (network.name, network.pixels, network.classes, network.depth, *counts, *shown)


def published_table() -> Table:
    """All published errors that we know, ensembles among them."""
    lines = tuple(
        (entry.network, entry.images, entry.protocol, entry.top1, entry.top5, entry.source) for entry in PUBLISHED
    )
    return Table("Published errors", ("network", "images", "tested with", "top-1 %", "top-5 %", "source"), lines, ())
