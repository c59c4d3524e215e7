"""The pictures: filters, feature maps, strongest activations, occlusion and saliency, drawn with matplotlib."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from torch import Tensor

from pipelines.visualization.activations import Strongest
from pipelines.visualization.layers import Layer
from pipelines.visualization.occlusion import Occlusion
from pipelines.visualization.tiles import (
    Pixels,
    Tile,
    around_grey,
    as_stored,
    crop,
    gap_of,
    magnified,
    nearly_square,
    sheet,
)

MOST_FILTERS = 256
MOST_MAPS = 36
"""Shown of one layer."""
WITHIN_SCALE = 0.99
"""Of a projection's values; the rest are clipped to black and white."""

Colour = tuple[float, float, float]
BETWEEN_TILES: Colour = (0.78, 0.86, 0.94)
"""Neither white, grey nor black, as tiles are."""


@dataclass(frozen=True)
class Subject:
    """An image that a picture is about."""

    image: Tensor
    """uint8 (H, W, C)."""
    label: int
    title: str
    """Its class, and what the network takes it for."""


@dataclass(frozen=True)
class OccludedSubject:
    """All that one row of the occlusion picture shows."""

    subject: Subject
    occlusion: Occlusion
    occluder_size: int
    probability: float
    """Of the label, without the square."""
    feature_map: str
    """The observed one's name."""
    projection: Tensor
    """(C, H, W), of its strongest activation."""


def draw_filters(layer: str, weights_FCHW: Tensor) -> Figure:
    """Filters of a first layer over one or three channels, each on its own scale (Krizhevsky et al. 2012, Fig. 3)."""
    count, _, height, width = weights_FCHW.shape
    shown = weights_FCHW[:MOST_FILTERS]
    across = nearly_square(len(shown)) if len(shown) > 10 else len(shown)
    figure = Figure(figsize=(7, 7 * -(-len(shown) // across) / across + 0.6), layout="constrained", dpi=150)
    axes = figure.subplots()
    tiles = magnified([around_grey(filter_CHW) for filter_CHW in shown])
    _show(axes, sheet(tiles, across, gap_of(tiles)))
    some = "" if len(shown) == count else f"the first {len(shown)} of "
    axes.set_title(f"First layer, {layer}: {some}{count} filters of {height} x {width}", fontsize=11)
    axes.set_xlabel("mid-grey is a weight of 0; each filter is scaled to its largest weight", fontsize=9)
    return figure


def draw_samples(images_NHWC: Tensor) -> Figure:
    """Training images as the network is given them: cut, moved and coloured by the augmentation."""
    tiles, across = magnified([as_stored(image) for image in images_NHWC]), min(8, len(images_NHWC))
    down = -(-len(tiles) // across)
    figure = Figure(figsize=(7, 7 * down / across + 0.6), layout="constrained", dpi=150)
    axes = figure.subplots()
    _show(axes, sheet(tiles, across, gap_of(tiles)))
    _, height, width, _ = images_NHWC.shape
    axes.set_title(f"Training images as the network is given them, {height} x {width} pixels", fontsize=11)
    return figure


def draw_feature_maps(subject: Subject, layers: Sequence[tuple[Layer, Tensor]]) -> Figure:
    """What the layers give for an image: at most MOST_MAPS of each. layers: with their output (maps, h, w)."""
    figure = Figure(figsize=(2.6 + 3.4 * len(layers), 3.8), layout="constrained", dpi=150)
    places = figure.subplots(1, 1 + len(layers), width_ratios=[2.4, *[3.4] * len(layers)], squeeze=False)[0]
    _show(places[0], as_stored(subject.image), subject.title)
    for axes, (layer, output) in zip(places[1:], layers, strict=True):
        shown = output[:MOST_MAPS].cpu().numpy()
        tiles, across = magnified(list(shown)), nearly_square(len(shown))
        drawn = axes.imshow(sheet(tiles, across, gap_of(tiles)), cmap="viridis", interpolation="nearest")
        _number(axes, tiles, across)
        some = "" if len(shown) == layer.maps else f"the first {len(shown)} of "
        axes.set_title(f"{layer.name}: {some}{layer.maps} maps\nof {layer.height} x {layer.width}", fontsize=10)
        figure.colorbar(drawn, ax=axes, location="bottom", shrink=0.8, pad=0.03).ax.tick_params(labelsize=8)
        _bare(axes)  # after the colour bar, which would move the maps
    return figure


def draw_strongest(layer: Layer, found: Strongest, projections: Sequence[Tensor], fields: Sequence[Tensor]) -> Figure:
    """Of each feature map, projections (left) and image patches (right) of its strongest activations.

    As Fig. 2 of Zeiler and Fergus 2014. projections: a map's (K, C, H, W). fields: its boxes, int64 (K, 4).
    """
    across = min(3, len(found.maps))
    down = -(-len(found.maps) // across)
    figure = Figure(figsize=(4.8 * across, 2.65 * down + 0.7), layout="constrained", dpi=150)
    figure.suptitle(
        f"{layer.name}: the {found.rows.shape[1]} images that excite a feature map most\n"
        "left: the activation projected back to pixels (deconvnet); right: the patch that it can depend on",
        fontsize=11,
    )
    panels = figure.subfigures(down, across, squeeze=False, wspace=0.04).flat
    for place, (panel, projection, boxes) in enumerate(zip(panels, projections, fields, strict=False)):
        values = found.values[place].tolist()
        strength = f"activations {values[0]:.3g} to {values[-1]:.3g}" if any(values) else "never active"
        panel.suptitle(f"map {found.maps[place]}, {strength}", fontsize=10)
        _draw_pair(panel, projection, found.images_of(place), boxes.tolist())
    return figure


def _draw_pair(panel: SubFigure, projections: Tensor, images: Tensor, boxes: Sequence[Sequence[int]]) -> None:
    side = max(max(bottom - top, right - left) for top, left, bottom, right in boxes)
    projected = [crop(around_grey(one, WITHIN_SCALE), box, side) for one, box in zip(projections, boxes, strict=True)]
    patches = [crop(as_stored(one), box, side) for one, box in zip(images, boxes, strict=True)]
    for axes, tiles in zip(panel.subplots(1, 2), map(magnified, (projected, patches)), strict=True):
        _show(axes, sheet(tiles, nearly_square(len(tiles)), gap_of(tiles)))


def draw_occlusion(rows: Sequence[OccludedSubject], class_names: Sequence[str]) -> Figure:
    """One row an image, as Fig. 6 of Zeiler and Fergus 2014."""
    figure = Figure(figsize=(15, 3.1 * len(rows) + 0.3), layout="constrained", dpi=150)
    grid = figure.subplots(len(rows), 5, squeeze=False)
    colours = _colours_of(rows)
    for places, row in zip(grid, rows, strict=True):
        _draw_occluded(figure, places, row, class_names, colours)
    return figure


def _draw_occluded(
    figure: Figure,
    places: Sequence[Axes],
    row: OccludedSubject,
    class_names: Sequence[str],
    colours: Mapping[int, Colour],
) -> None:
    image, seen = as_stored(row.subject.image), row.occlusion
    extent = (0, seen.activations.shape[1] * seen.stride, seen.activations.shape[0] * seen.stride, 0)
    _show(places[0], image, row.subject.title)
    height, width = image.shape[:2]
    side = row.occluder_size
    corner = ((width - side) / 2 - 0.5, (height - side) / 2 - 0.5)
    places[0].add_patch(Rectangle(corner, side, side, fill=False, edgecolor="tab:orange", linewidth=2))
    places[0].set_xlabel(f"outlined: a square of {side} x {side} pixels", fontsize=9)
    _show(places[2], around_grey(row.projection, WITHIN_SCALE), f"projection of\n{row.feature_map}")
    name = class_names[row.subject.label]
    maps = (
        (places[1], seen.activations, f"total activation of\n{row.feature_map}", "viridis", None, None),
        (places[3], seen.probabilities[:, :, row.subject.label],
         f"probability of {name}\n({row.probability:.0%} uncovered)", "viridis", 0, 1),
    )  # fmt: skip
    for axes, values, title, cmap, low, high in maps:
        drawn = axes.imshow(values, cmap=cmap, vmin=low, vmax=high, extent=extent, interpolation="nearest")
        figure.colorbar(drawn, ax=axes, shrink=0.85).ax.tick_params(labelsize=8)
        _bare(axes, title)
    answers = seen.classes.numpy()
    in_colour = np.array([[colours[answer] for answer in line] for line in answers.tolist()])
    places[4].imshow(in_colour, extent=extent, interpolation="nearest")
    _bare(places[4], "most probable class")
    present = [Patch(color=colours[answer], label=class_names[answer]) for answer in np.unique(answers).tolist()]
    places[4].legend(handles=present, loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=8, frameon=False)


def _colours_of(rows: Sequence[OccludedSubject]) -> dict[int, Colour]:
    """One colour a class that appears anywhere; they repeat after twenty."""
    present = np.unique(np.concatenate([row.occlusion.classes.numpy().ravel() for row in rows])).tolist()
    palette = colormaps["tab10" if len(present) <= 10 else "tab20"]
    return {answer: palette(place % palette.N)[:3] for place, answer in enumerate(present)}


def draw_saliency(subjects: Sequence[Subject], saliencies: Tensor) -> Figure:
    """Images above, below them the saliency of their class. saliencies: (N, H, W)."""
    count = len(subjects)
    figure = Figure(figsize=(2.7 * count + 0.2, 6.1), layout="constrained", dpi=150)
    figure.suptitle("Saliency: how the score of its class changes with each pixel,\neach on its own scale", fontsize=11)
    grid = figure.subplots(2, count, squeeze=False)
    for column, (subject, values) in enumerate(zip(subjects, saliencies.cpu().numpy(), strict=True)):
        _show(grid[0, column], as_stored(subject.image), subject.title)
        grid[1, column].imshow(values, cmap="magma", vmin=0, interpolation="nearest")
        _bare(grid[1, column])
    return figure


def _number(axes: Axes, tiles: Sequence[Tile], across: int) -> None:
    """Each tile's number in its corner."""
    height, width = (side + gap_of(tiles) for side in tiles[0].shape[:2])
    for number in range(len(tiles)):
        left, top = number % across * width, number // across * height
        text = axes.text(left, top, str(number), color="white", fontsize=6, ha="left", va="top")
        text.set_path_effects([withStroke(linewidth=1.2, foreground="black")])


def _show(axes: Axes, pixels: Pixels, title: str = "") -> None:
    axes.imshow(np.where(np.isnan(pixels), BETWEEN_TILES, pixels), vmin=0, vmax=1, interpolation="nearest")
    _bare(axes, title)


def _bare(axes: Axes, title: str = "") -> None:
    axes.set(xticks=[], yticks=[], anchor="N")
    axes.spines[:].set_visible(False)
    if title:
        axes.set_title(title, fontsize=10)
