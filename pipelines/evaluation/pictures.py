"""Pictures of an evaluation: which classes are taken for which, whether probabilities are true, the worst mistakes."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.evaluation.mistakes import Mistake
from pipelines.evaluation.tally import BINS, Evaluation
from pipelines.images.codec import Image

MATRIX_CLASSES = 40
"""Up to so many the confusion is drawn as a whole, for more as its most frequent pairs."""
PAIRS = 30
_MOST_CELLS_WITH_NUMBERS = 20
_NAME = 24
"""Characters of a class's or an image's name that are shown."""


def draw_confusion(evaluation: Evaluation, class_names: Sequence[str]) -> Figure:
    """The matrix of images by label and predicted class, or where there are many classes the pairs mixed up most."""
    if len(class_names) > MATRIX_CLASSES:
        return _draw_pairs(evaluation, class_names)
    side = 2 + 0.32 * len(class_names)
    figure = Figure(figsize=(side + 1.4, side), layout="constrained", dpi=130)
    axes = figure.subplots()
    counts = evaluation.confusion
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    drawn = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [_short(name) for name in class_names]
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set(xlabel="predicted", ylabel="label", title=_title(evaluation))
    if len(names) <= _MOST_CELLS_WITH_NUMBERS:
        for row, column in np.argwhere(counts):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", fontsize=7, color=colour)
    figure.colorbar(drawn, ax=axes, shrink=0.8, label="share of the label's images")
    return figure


def _draw_pairs(evaluation: Evaluation, class_names: Sequence[str]) -> Figure:
    pairs = evaluation.confused_pairs(PAIRS)
    figure = Figure(figsize=(9, 1.2 + 0.26 * max(1, len(pairs))), layout="constrained", dpi=130)
    axes = figure.subplots()
    names = [f"{_short(class_names[label])} taken for {_short(class_names[taken])}" for label, taken, _ in pairs]
    bars = axes.barh(range(len(pairs)), [count for *_, count in pairs], color="tab:blue")
    axes.bar_label(bars, padding=3, fontsize=8)
    axes.set_yticks(range(len(pairs)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel="images", title=f"{_title(evaluation)}; the pairs mixed up most")
    return figure


def draw_reliability(evaluation: Evaluation) -> Figure:
    """Accuracy over confidence, bin by bin: on the diagonal a network is as sure as it is right (Guo et al. 2017)."""
    figure = Figure(figsize=(5.5, 6.5), layout="constrained", dpi=130)
    above, below = figure.subplots(2, 1, height_ratios=[3, 1], sharex=True)
    images, confidence, right = evaluation.bins
    middles, width, seen = (np.arange(BINS) + 0.5) / BINS, 1 / BINS, images > 0
    accuracy, confidence = right[seen] / images[seen], confidence[seen] / images[seen]
    above.bar(middles[seen], accuracy, width, color="tab:blue", ec="white", label="accuracy")
    above.plot(confidence, accuracy, "o", color="black", markersize=3, label="at the bin's mean confidence")
    above.plot([0, 1], [0, 1], "--", color="grey", label="as sure as right")
    above.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    above.set_title(f"Expected calibration error {evaluation.calibration_error:.2%} over {evaluation.images:,} images")
    above.legend(fontsize=8, loc="upper left")
    below.bar(middles, images / evaluation.images, width, color="lightgrey", ec="white")
    below.set(xlabel="confidence: the largest probability", ylabel="share of\nimages")
    return figure


def draw_mistakes(mistakes: Sequence[Mistake], images: Mapping[str, Image], class_names: Sequence[str]) -> Figure:
    """A contact sheet, worst first: each image as it is stored, its key, label and what it was taken for."""
    across = min(6, max(1, len(mistakes)))
    down = max(1, -(-len(mistakes) // across))
    width = max(2.1 * across, 5.5)  # or its title is cut off
    figure = Figure(figsize=(width, 2.6 * down + 0.5), layout="constrained", dpi=130)
    places = figure.subplots(down, across, squeeze=False).flat
    figure.suptitle(
        "The mistakes that gave the label the least probability" if mistakes else "No mistakes", fontsize=11
    )
    for axes in places:
        axes.set_axis_off()
    for axes, mistake in zip(figure.axes, mistakes, strict=False):
        _draw_mistake(axes, mistake, images.get(mistake.key), class_names)
    return figure


def _draw_mistake(axes: Axes, mistake: Mistake, image: Image | None, class_names: Sequence[str]) -> None:
    if image is not None:
        axes.imshow(image[:, :, 0] if image.shape[2] == 1 else image, cmap="gray", vmin=0, vmax=255)
    lines = (
        mistake.key[-_NAME:],
        f"is {_short(class_names[mistake.label])}, at {np.exp(-mistake.loss):.1%}",
        f"taken for {_short(class_names[mistake.predicted])}, at {mistake.confidence:.1%}",
    )
    axes.set_title("\n".join(lines), fontsize=7, parse_math=False)  # a name may have dollars


def _title(evaluation: Evaluation) -> str:
    return f"top-1 error {evaluation.top1_error:.2%}, {evaluation.images:,} images"


def _short(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"
