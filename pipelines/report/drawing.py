"""Charts as SVG: one file with everything in it, or parts of an HTML page that take the page's colours."""

import io
import re
from collections.abc import Sequence
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from pipelines.report.blocks import Chart, Key, Panel
from pipelines.report.charts import COLOURS, INK, PUBLISHED, QUIET, RULE

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # letters stay letters: to be searched, read aloud, and set in the page's own type
    "text.parse_math": False,  # a run's name may have dollars
    "font.size": 9,
    "font.family": "sans-serif",
    "text.color": INK,
    "axes.labelcolor": QUIET,
    "axes.edgecolor": QUIET,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "ytick.labelcolor": INK,
    "legend.labelcolor": INK,
}
VARIABLES = {INK: "--ink", QUIET: "--quiet", RULE: "--rule", PUBLISHED: "--published"} | {
    colour: f"--c{place}" for place, colour in enumerate(COLOURS)
}
"""What a page calls each colour, so that it can show others in the dark."""
_LEGEND_ROW = 0.22


def as_file(chart: Chart) -> str:
    """One SVG on white, panels side by side, with the legend."""
    return _svg(chart.panels, chart.keys, chart.name, is_transparent=False)


def as_parts(chart: Chart) -> list[str]:
    """An SVG element for each panel, without its legend; to be put into an HTML page that has VARIABLES."""
    drawn = [
        _svg((panel,), (), f"{chart.name}-{place}", is_transparent=True) for place, panel in enumerate(chart.panels)
    ]
    return [_inlined(svg) for svg in drawn]


def _svg(panels: Sequence[Panel], keys: Sequence[Key], salt: str, is_transparent: bool) -> str:
    across = min(2, len(panels))
    down = -(-len(panels) // across)
    legend = _LEGEND_ROW * len(keys) + (0.15 if keys else 0)
    size = (across * max(panel.width for panel in panels), down * max(panel.height for panel in panels) + legend)
    content = io.StringIO()
    with mpl.rc_context(_STYLE | {"svg.hashsalt": salt}):
        figure = Figure(figsize=size, layout="constrained")
        for axes, panel in zip(figure.subplots(down, across, squeeze=False).flat, panels, strict=False):
            panel.draw(axes)
        if keys:
            labels = [key.label for key in keys]
            figure.legend([_handle(key) for key in keys], labels, loc="outside lower left", frameon=False, fontsize=8)
        nobody = dict.fromkeys(("Date", "Creator", "Type", "Format"))  # so that equal charts are equal bytes
        figure.savefig(content, format="svg", metadata=nobody, transparent=is_transparent)
    return content.getvalue()


def _handle(key: Key) -> Artist:
    if key.mark == "bar":
        return Patch(color=key.colour, alpha=0.55)
    if key.mark in ("line", "dashes"):
        return Line2D([], [], color=key.colour, ls="--" if key.mark == "dashes" else "-")
    return Line2D([], [], color=key.colour, marker="D" if key.mark == "diamond" else "o", ls="")


def _inlined(svg: str) -> str:
    """Without what only a file needs, and without names that another chart on the page may have, too."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"([^>]*?) width="[^"]*"', r"\1\2", svg)
    # The page hides it from who does not see it, and tells them what the whole chart shows.
    svg = svg.replace("<svg", '<svg aria-hidden="true" focusable="false"', 1)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return re.sub(r"\n\s*", "\n", svg).strip()


def swatch(key: Key) -> str:
    """A legend's mark, as an SVG element."""
    shapes = {
        "line": '<path d="M1 7H23" stroke-width="2.5"/>',
        "dashes": '<path d="M1 7H23" stroke-width="2.5" stroke-dasharray="5 3"/>',
        "dot": '<circle cx="12" cy="7" r="4"/>',
        "diamond": '<path d="M12 2l5 5-5 5-5-5z"/>',
        "bar": '<rect x="2" y="2" width="20" height="10" opacity="0.55"/>',
    }
    colour = f"var({VARIABLES[key.colour]})" if key.colour in VARIABLES else escape(key.colour)
    is_stroke = key.mark in ("line", "dashes")
    paint = f'stroke="{colour}" fill="none"' if is_stroke else f'fill="{colour}"'
    return f'<svg class="swatch" aria-hidden="true" viewBox="0 0 24 14" {paint}>{shapes[key.mark]}</svg>'
