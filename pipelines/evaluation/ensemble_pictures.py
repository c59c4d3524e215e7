"""Pictures of an ensemble: error over the number of members, beside the published one, and pairwise agreement."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.evaluation.outcomes import Doubles, Integers
from pipelines.evaluation.study import Study

PUBLISHED_MEMBERS, PUBLISHED_TOP5 = (1, 5, 7), (0.182, 0.164, 0.154)
"""Krizhevsky et al. 2012 (AlexNet), section 6: ILSVRC-2012's validation images; two of the seven had been trained on
all of ImageNet of 2011 before."""
_NAMED = 40
"""Members, up to which an agreement's rows have names."""


def draw_curve(study: Study) -> Figure:
    """Errors of the average of 1, 2, … members; on the right as a share of one member's, with AlexNet's published."""
    figure = Figure(figsize=(11, 4.4), layout="constrained", dpi=130)
    errors, relative = figure.subplots(1, 2)
    sizes = np.arange(1, len(study.runs) + 1)
    for place, name in enumerate(("top-1", "top-5")):
        _draw_band(errors, sizes, 100 * study.curve[:, :, place], name)
    errors.axhline(100 * study.median_top1, ls=":", color="grey", label="the median member, top-1")
    if study.greedy:
        along = 100 * study.greedy.errors[:, 0]
        errors.plot(range(1, len(along) + 1), along, "s--", ms=4, label="greedy selection, top-1, held-out half")
    errors.set(xlabel="members", ylabel="error, %", ylim=(0, None), title="Average of the members")
    for place, name in enumerate(("top-1", "top-5")):
        mean = study.curve[:, :, place].mean(0)
        if mean[0]:
            relative.plot(sizes, mean / mean[0], "o-", ms=4, label=f"measured, {name}")
    published = np.array(PUBLISHED_TOP5)
    relative.plot(
        PUBLISHED_MEMBERS, published / published[0], "^--", color="black", label="published: AlexNet on ImageNet, top-5"
    )
    for members, error in zip(PUBLISHED_MEMBERS, published, strict=True):
        relative.annotate(
            f"{error:.1%}", (members, error / published[0]), (-9, -14), textcoords="offset points", fontsize=8
        )
    relative.set(
        xlabel="members", ylabel="error / error of one member", ylim=(0, None), title="Beside the published gain"
    )
    for axes in (errors, relative):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
        axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


def _draw_band(axes: Axes, sizes: Integers, values: Doubles, name: str) -> None:
    """The mean over orders of members, and from the least to the largest."""
    (line,) = axes.plot(sizes, values.mean(0), "o-", ms=4, label=f"{name}, mean over {len(values)} orders")
    axes.fill_between(sizes, values.min(0), values.max(0), color=line.get_color(), alpha=0.15, lw=0)


def draw_agreement(study: Study, names: Sequence[str]) -> Figure:
    """For which share of images two members find the same class most probable."""
    count = len(names)
    side = 4.5 + min(count, _NAMED) * 0.28
    figure = Figure(figsize=(side + 1.2, side), layout="constrained", dpi=130)
    axes = figure.subplots()
    off_diagonal = study.agreement[~np.eye(count, dtype=bool)]
    drawn = axes.imshow(study.agreement, cmap="viridis", vmin=float(off_diagonal.min()), vmax=1)
    if count <= _NAMED:
        axes.set_xticks(range(count), names, rotation=90, fontsize=7)
        axes.set_yticks(range(count), names, fontsize=7)
    axes.set_title(f"Same top-1 class: {study.mean_agreement:.2%}\nof images for a pair", fontsize=10)
    figure.colorbar(drawn, ax=axes, shrink=0.8)
    return figure
