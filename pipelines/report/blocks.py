"""What a page is made of, whichever way it is written: sentences, tables, charts, pictures, code, in sections."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes


class Mono(str):
    """A name, or what is typed."""


class Strong(str):
    """What a sentence is about."""


@dataclass(frozen=True)
class Text:
    """A paragraph of plain strings, Mono and Strong. Any string may come from a run: none is markup."""

    parts: tuple[str, ...]
    kind: Literal["plain", "lead", "note", "missing"] = "plain"
    """missing: says what is not there, and what makes it."""


def text(*parts: str, kind: Literal["plain", "lead", "note", "missing"] = "plain") -> Text:
    return Text(parts, kind)


@dataclass(frozen=True)
class Table:
    """The first cell of a row is the row's heading."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()
    """Columns that are set flush right."""
    is_folded: bool = False
    """To be opened by who wants it, where that can be done."""


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    draw: Callable[[Axes], None]
    width: float
    """In inches, likewise the next; letters are of 9 points."""
    height: float


@dataclass(frozen=True)
class Key:
    """An entry of a legend."""

    label: str
    colour: str
    mark: Literal["line", "dashes", "dot", "diamond", "bar"]


@dataclass(frozen=True)
class Chart:
    """Panels that share a legend."""

    name: str
    """Of its file."""
    panels: tuple[Panel, ...]
    keys: tuple[Key, ...]
    alternative: str
    """What it shows, for who does not see it."""
    caption: str


@dataclass(frozen=True)
class Picture:
    """One that a run has among its artifacts."""

    name: str
    """Of its file."""
    png: bytes
    alternative: str
    caption: str


@dataclass(frozen=True)
class Code:
    """What is typed, or a file, as it stands."""

    title: str
    lines: str
    is_folded: bool = False


Block = Text | Table | Chart | Picture | Code


@dataclass(frozen=True)
class Section:
    anchor: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Highlight:
    """A figure that the page opens with."""

    label: str
    value: str
    detail: str


@dataclass(frozen=True)
class Page:
    title: str
    made: str
    """When, and of what."""
    opening: tuple[Block, ...]
    highlights: tuple[Highlight, ...]
    sections: tuple[Section, ...]
