"""An evaluation as files: tables, pictures and a contact sheet, for people and for a run's artifacts."""

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from pipelines.evaluation.mistakes import Mistake
from pipelines.evaluation.pictures import draw_confusion, draw_mistakes, draw_reliability
from pipelines.evaluation.tally import Evaluation
from pipelines.images.codec import Image

PAIRS_LISTED = 100

FindImages = Callable[[set[str]], dict[str, Image]]
"""Keys to stored images."""


def write_report(
    folder: Path,
    evaluation: Evaluation,
    mistakes: Sequence[Mistake],
    class_names: Sequence[str],
    find_images: FindImages,
) -> list[Path]:
    """`classes.csv`, `confused_pairs.csv`, `mistakes.csv`, `confusion.png`, `reliability.png`, `mistakes.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = {
        "classes.csv": _of_classes(evaluation, class_names),
        "confused_pairs.csv": _of_pairs(evaluation, class_names),
        "mistakes.csv": _of_mistakes(mistakes, class_names),
    }
    for name, text in tables.items():
        (folder / name).write_text(text)
    images = find_images({mistake.key for mistake in mistakes})
    figures = {
        "confusion.png": draw_confusion(evaluation, class_names),
        "reliability.png": draw_reliability(evaluation),
        "mistakes.png": draw_mistakes(mistakes, images, class_names),
    }
    return [*(folder / name for name in tables), *(save(figure, folder / name) for name, figure in figures.items())]


def save(figure: Figure, path: Path) -> Path:
    """The picture, written there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def _of_classes(evaluation: Evaluation, class_names: Sequence[str]) -> str:
    most = dict[int, tuple[int, int]]()
    for label, predicted, images in evaluation.confused_pairs(evaluation.confusion.size):
        most.setdefault(label, (predicted, images))
    rows = []
    for label, name in enumerate(class_names):
        images = int(evaluation.confusion[label].sum())
        taken, times = most.get(label, (None, 0))
        accuracy = f"{evaluation.class_accuracies[label]:.6f}" if images else ""
        rows.append((label, name, images, accuracy, "" if taken is None else class_names[taken], times))
    return _csv(("class", "name", "images", "top1_accuracy", "most_taken_for", "times"), rows)


def _of_pairs(evaluation: Evaluation, class_names: Sequence[str]) -> str:
    rows = [
        (class_names[label], class_names[predicted], images, f"{images / evaluation.confusion[label].sum():.6f}")
        for label, predicted, images in evaluation.confused_pairs(PAIRS_LISTED)
    ]
    return _csv(("label", "predicted", "images", "share_of_label"), rows)


def _of_mistakes(mistakes: Sequence[Mistake], class_names: Sequence[str]) -> str:
    rows = [
        (one.key, class_names[one.label], class_names[one.predicted], f"{one.confidence:.6f}", f"{one.loss:.4f}")
        for one in mistakes
    ]
    return _csv(("key", "label", "predicted", "probability_of_predicted", "loss"), rows)


def _csv(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()
