"""Pictures for a lecture: one network's layers, and the revolution of depth."""

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from pipelines.summary.revolution import Compared
from pipelines.summary.summary import Summary
from pipelines.summary.table import megabytes, rounded
from pipelines.summary.trace import Row

_FAMILIES = {
    "AlexNet": ("alexnet", "#4c72b0"),
    "ZFNet": ("zfnet", "#55a868"),
    "VGG": ("vgg", "#dd8452"),
    "GoogLeNet": ("googlenet", "#8172b3"),
    "ResNet": ("resnet", "#c44e52"),
    "plain twins of ResNet": ("plain", "#b0a8a8"),
}
"""Family to how its networks' names begin and its colour."""
_OTHER = "#777777"
_QUIET = "#666666"


def draw_revolution(compared: Sequence[Compared]) -> Figure:
    """Layers, parameters, multiply-adds and published error of the networks for ImageNet, oldest on top."""
    shown = [network for network in compared if network.for_imagenet]
    figure = Figure(figsize=(14, 1.8 + 0.33 * len(shown)), layout="constrained")
    panels = figure.subplots(1, 4, sharey=True, width_ratios=(1, 1, 1, 1.25))
    colours = [_colour(network.name) for network in shown]
    _bars(panels[0], [network.depth for network in shown], colours, lambda depth: f"{depth:.0f}")
    _bars(panels[1], [network.parameters for network in shown], colours, _in_three_digits)
    _bars(panels[2], [network.multiply_adds for network in shown], colours, _in_three_digits)
    _errors(panels[3], shown, colours)
    titles = ("layers with weights", "parameters", "multiply-adds an image", "top-5 error, %, as published")
    for panel, title in zip(panels, titles, strict=True):
        panel.set_title(title, loc="left", fontsize=12)
    panels[0].set_yticks(range(len(shown)), [network.name for network in shown], fontsize=11)
    panels[0].invert_yaxis()
    _legend(figure, colours)
    figure.suptitle("The revolution of depth", fontsize=18, x=0.01, ha="left")
    return figure


def _in_three_digits(count: float) -> str:
    return rounded(count, 3)


def _colour(name: str) -> str:
    return next((colour for start, colour in _FAMILIES.values() if name.startswith(start)), _OTHER)


def _legend(figure: Figure, colours: Sequence[str]) -> None:
    handles = [Patch(color=colour, label=family) for family, (_, colour) in _FAMILIES.items() if colour in colours]
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), frameon=False, fontsize=11)


def _bars(axes: Axes, values: Sequence[float], colours: Sequence[str], label: Callable[[float], str]) -> None:
    """Horizontal, each with its figure at its end."""
    bars = axes.barh(range(len(values)), values, color=colours, height=0.72)
    axes.bar_label(bars, [label(value) if value else "" for value in values], padding=3, fontsize=10)
    axes.set_xlim(0, 1.2 * max(values))
    axes.set_xticks([])
    axes.set_ylim(-0.6, len(values) - 0.4)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def _errors(axes: Axes, shown: Sequence[Compared], colours: Sequence[str]) -> None:
    """With how each was tested, since papers differ in it."""
    errors = [network.published.top5 or 0 if network.published else 0 for network in shown]
    _bars(axes, errors, colours, str)
    axes.set_xlim(0, 1.8 * max(errors))
    for place, (network, error) in enumerate(zip(shown, errors, strict=True)):
        told = network.published.protocol if network.published and error else "not in our table"
        if network.published and network.published.source.startswith("torchvision"):
            told += ", torchvision"
        axes.text(1.22 * max(errors), place, told, va="center", fontsize=9, color=_QUIET, style="italic")


def draw_layers(summary: Summary) -> Figure:
    """Where a network's memory, parameters and arithmetic are: three bars a layer, from the image down."""
    rows = [row for row in summary.rows if row.label not in ("BN", "ADD", "CONCAT", "NORM")]
    figure = Figure(figsize=(14, 1.9 + 0.27 * len(rows)), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    colours = [_colour_of_layer(row) for row in rows]
    _bars(panels[0], [row.activations for row in rows], colours, rounded)
    _bars(panels[1], [row.weights + row.biases for row in rows], colours, rounded)
    _bars(panels[2], [row.multiply_adds for row in rows], colours, rounded)
    titles = (
        f"activations: {rounded(summary.activations)}, {megabytes(summary.forward_bytes)} an image",
        f"parameters: {rounded(summary.parameters)}",
        f"multiply-adds: {rounded(summary.multiply_adds)} an image",
    )
    for panel, title in zip(panels, titles, strict=True):
        panel.set_title(title, loc="left", fontsize=12)
    panels[0].set_yticks(range(len(rows)), [_told(row) for row in rows], fontsize=9, family="monospace")
    panels[0].invert_yaxis()
    figure.suptitle(f"{summary.name} on {summary.input.shown}", fontsize=16, x=0.01, ha="left")
    return figure


_OF_LAYERS = {"CONV": "#dd8452", "FC": "#c44e52", "POOL": "#8da0cb", "AVGPOOL": "#8da0cb"}


def _colour_of_layer(row: Row) -> str:
    return next((colour for start, colour in _OF_LAYERS.items() if row.label.startswith(start)), _OTHER)


def _told(row: Row) -> str:
    height, width, channels = row.volume
    return f"{row.module}  {row.label:10} {f'{height}x{width}x{channels}':>12}"
