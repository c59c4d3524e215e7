"""Tables of summaries and of comparisons, as text, Markdown and CSV."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10

from pipelines.summary.summary import BYTES, Summary
from pipelines.summary.trace import Row
from pipelines.summary.windows import Field

Cell = str | int | float | None

NUMBERS = (
    "activations", "about", "bytes", "weights", "biases", "multiply-adds", "field", "stride", "offset",
)  # fmt: skip
"""Columns that are set flush right."""


@dataclass(frozen=True)
class Table:
    """Headings, lines of cells, and sentences below. In text and Markdown numbers have separators, in CSV none."""

    title: str
    headings: tuple[str, ...]
    lines: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...]

    def text(self) -> str:
        """Columns in line, for a terminal."""
        shown = [self.headings, *([_shown(cell) for cell in line] for line in self.lines)]
        columns = [self._aligned(number, cells) for number, cells in enumerate(zip(*shown, strict=True))]
        lines = ("  ".join(line) for line in zip(*columns, strict=True))
        return "\n".join(line.rstrip() for line in [self.title, "", *lines, "", *self.notes])

    def markdown(self) -> str:
        """A table that GitHub and most others render."""
        rule = ["---:" if self._is_number(column) else "---" for column in range(len(self.headings))]
        rows = [self.headings, rule, *([_shown(cell) for cell in line] for line in self.lines)]
        table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        return "\n".join([f"**{self.title}**", "", table, "", *(f"- {note}" for note in self.notes)])

    def csv(self) -> str:
        """Exact numbers and no notes, for a program."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(self.headings)
        writer.writerows(self.lines)
        return file.getvalue().rstrip("\n")

    def _is_number(self, column: int) -> bool:
        cells = [line[column] for line in self.lines if line[column] not in (None, "")]
        return self.headings[column] in NUMBERS or all(isinstance(cell, (int, float)) for cell in cells)

    def _aligned(self, column: int, cells: Sequence[str]) -> list[str]:
        width, flush = max(map(len, cells)), ">" if self._is_number(column) else "<"
        return [f"{cell:{flush}{width}}" for cell in cells]


def layers_table(summary: Summary) -> Table:
    """A row a layer, the totals, and what memory they come to."""
    headings = ("module", "layer", "filter", "volume", *NUMBERS)
    given = summary.input
    return Table(
        f"{summary.name}: {given.shown} to {given.classes:,} classes, {summary.depth} layers with weights, float32",
        headings,
        (*(_cells(row) for row in summary.rows), _totals(summary)),
        tuple(_notes(summary)),
    )


def _cells(row: Row) -> tuple[Cell, ...]:
    height, width, channels = row.volume
    count = row.activations
    return (
        row.module, row.label, row.filter, f"{height}x{width}x{channels}", count, rounded(count), BYTES * count,
        row.weights, row.biases, row.multiply_adds, *_seen(row.fields),
    )  # fmt: skip


def _totals(summary: Summary) -> tuple[Cell, ...]:
    count = summary.activations
    return (
        "", "total", "", "", count, rounded(count), BYTES * count, summary.weights, summary.biases,
        summary.multiply_adds, "", "", "",
    )  # fmt: skip


def _seen(fields: tuple[Field, Field]) -> tuple[Cell, ...]:
    """Size, stride and offset; of height x width where they differ."""
    rows, columns = fields
    pairs = ((rows.size, columns.size), (rows.stride, columns.stride), (rows.offset, columns.offset))
    return tuple(_plain(one) if one == other else f"{_plain(one)}x{_plain(other)}" for one, other in pairs)


def _notes(summary: Summary) -> list[str]:
    parameters, trained = summary.parameters, summary.trained_parameters
    only_training = f" ({trained - parameters:,} more in training)" if trained > parameters else ""
    each = megabytes(BYTES * trained)
    return [
        f"parameters: {summary.weights:,} weights + {summary.biases:,} biases = {parameters:,}{only_training}; "
        f"multiply-adds: {summary.multiply_adds:,} an image, of convolutions and fully connected layers",
        f"forward, an image: {summary.activations:,} activations x {BYTES} bytes = {megabytes(summary.forward_bytes)}; "
        "rectifiers and dropout, which can work in place, have no row",
        f"training, a batch of {summary.batch_size}: "
        f"kept for backward {megabytes(summary.kept_bytes)} "
        f"+ parameters {each} + gradients {each} + momentum {each} = {megabytes(summary.training_bytes)}; "
        "kept is what autograd saves, without the library's working space",
        "field: output i sees the pixels offset + i*stride to offset + i*stride + field - 1 of the input, "
        "those outside it being padding",
        *summary.rules(),
    ]


def rounded(count: float, digits: int = 2) -> str:
    """As it is taught: 3,211,264 is 3.2M, 150,528 is 150K, 802,816 is 800K."""
    if count < 1000:
        return f"{count:g}"
    count = round(count, digits - 1 - floor(log10(count)))
    unit, letter = next((unit, letter) for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "K")) if count >= unit)
    return f"{count / unit:g}{letter}"


def megabytes(count: int) -> str:
    """`61.0 MB`, of 10^6 bytes."""
    return f"{count / 1e6:,.1f} MB"


def _plain(number: float) -> Cell:
    return int(number) if number == int(number) else round(number, 2)


def _shown(cell: Cell) -> str:
    if cell is None:
        return ""
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def render(tables: Sequence[Table], form: str) -> str:
    """form: text, markdown or csv."""
    return "\n\n".join(getattr(table, form)() for table in tables)
