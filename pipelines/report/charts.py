"""The page's charts, drawn from figures that runs logged and papers published. Axes of errors begin at 0."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from pipelines.report.blocks import Panel

INK, QUIET, RULE = "#1b2530", "#5b6875", "#d3dae0"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a6d3b", "#7f7f7f")
"""Told apart with any colour vision: Okabe and Ito's, without their yellow, which paper swallows."""
PUBLISHED = "#9aa5b1"
PANEL_WIDTH, PANEL_HEIGHT = 4.7, 3.1
ROWS_WIDTH, _ROW_HEIGHT = 5.2, 0.27
_LETTER, _SMALL_LETTER = 5.0, 4.5
"""Points that a letter is wide, about, in labels and behind rows."""


@dataclass(frozen=True)
class Line:
    """A curve: x to y, drawn through all its points."""

    points: Mapping[int, float]
    colour: str
    is_dashed: bool = False
    mark: Literal["", "o", "^"] = ""


@dataclass(frozen=True)
class Mark:
    """A measured error with the ends of its 95% interval, or a published one without; in percent."""

    value: float
    colour: str
    shape: Literal["o", "D"] = "o"
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Row:
    """One network, or ensemble, of a chart of errors."""

    label: str
    bar: float | None = None
    """A published error, in percent."""
    marks: tuple[Mark, ...] = ()
    told: str = ""
    """At its end, in small letters."""


def error_rows(rows: Sequence[Row], xlabel: str) -> Panel:
    """A row each, from the top: grey bars are published, marks with whiskers are measured."""

    def draw(axes: Axes) -> None:
        for place, row in enumerate(rows):
            if row.bar is not None:
                axes.barh(place, row.bar, height=0.62, color=PUBLISHED, alpha=0.55, lw=0)
            for mark in row.marks:
                _draw_mark(axes, place, mark)
            if row.told:
                at, to_the_right = (_reach(row), place), (6, 0)
                axes.annotate(
                    row.told, at, to_the_right, textcoords="offset points", va="center", fontsize=8, color=QUIET
                )
        axes.set_yticks(range(len(rows)), [row.label for row in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(0, _room(rows))
        axes.set_xlabel(xlabel)
        axes.grid(axis="x", color=RULE, lw=0.8)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)

    return Panel(draw, ROWS_WIDTH, 0.75 + _ROW_HEIGHT * len(rows))


def _reach(row: Row) -> float:
    """The largest value that it shows."""
    marked: list[float] = [end for mark in row.marks for end in (mark.value, *(mark.interval or ()))]
    return max([row.bar or 0, *marked])


def _room(rows: Sequence[Row]) -> float:
    """The value at which the axis has to end, so that what is told behind each row has its place."""
    points = 72 * ROWS_WIDTH - 25 - _LETTER * max((len(row.label) for row in rows), default=0)
    ends = [_reach(row) * points / max(20, points - 9 - _SMALL_LETTER * len(row.told)) for row in rows]
    return max(ends, default=0) or 1


def _draw_mark(axes: Axes, place: int, mark: Mark) -> None:
    if mark.interval:
        axes.plot(mark.interval, (place, place), color=mark.colour, lw=1.6, solid_capstyle="butt")
    axes.plot(mark.value, place, mark.shape, ms=6, color=mark.colour, ls="", zorder=3)


def lines_over(
    title: str, xlabel: str, ylabel: str, lines: Sequence[Line], scale: Literal["linear", "log"] = "linear"
) -> Panel:
    """Curves on one pair of axes; a linear one begins at 0."""

    def draw(axes: Axes) -> None:
        for line in lines:
            steps = sorted(line.points)
            lone = "o" if len(steps) == 1 else ""
            axes.plot(
                steps, [line.points[step] for step in steps], color=line.colour, ls="--" if line.is_dashed else "-",
                lw=1.1 if line.is_dashed else 1.7, marker=line.mark or lone, ms=5, alpha=0.9,
            )  # fmt: skip
        values = [value for line in lines for value in line.points.values()]
        if scale == "log" and all(value > 0 for value in values):
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
        else:
            axes.set_ylim(0, 1.06 * max(values) or 1)
        axes.set_title(title, loc="left", fontsize=10, color=INK)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.xaxis.set_major_locator(MaxNLocator("auto", steps=(1, 2, 5, 10), integer=True, min_n_ticks=1))
        axes.grid(color=RULE, lw=0.8)
        axes.spines[["top", "right"]].set_visible(False)

    return Panel(draw, PANEL_WIDTH, PANEL_HEIGHT)


def of_percent(curve: Mapping[int, float]) -> dict[int, float]:
    return {step: 100 * value for step, value in curve.items()}


def colours_of(names: Sequence[str]) -> dict[str, str]:
    """They repeat where there are more names than colours."""
    return {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(names)}
