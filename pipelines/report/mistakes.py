"""The section on where the best answer errs: classes, pairs mixed up, calibration, the worst mistakes."""

import csv

from pipelines.report.blocks import Block, Mono, Picture, Section, Table, text
from pipelines.report.facts import Facts, percent
from pipelines.tracking.logged import LoggedRun

MOST_CLASSES, MOST_PAIRS = 20, 12
"""Rows of the tables; the run's artifacts have all."""

Rows = list[dict[str, str]]


def mistakes(facts: Facts) -> Section:
    """Of the ensemble, or where there is none of the best network, as the job that judged it has logged it."""
    title = "Where it errs"
    if facts.best is None:
        none = text(
            "No network is evaluated yet: ", Mono("horovodrun -np 2 python jobs/evaluate.py CONF.yaml"),
            " predicts every validation image and shows which are wrong.", kind="missing",
        )  # fmt: skip
        return Section("mistakes", title, (none,))
    run, errors = facts.best
    folder = f"evaluation/{errors.protocol}"
    blocks: list[Block] = [
        text(f"Of {'the ensemble' if run.kind == 'ensemble' else 'the best network'}, ", Mono(run.name), ".")
    ]
    blocks += _sheet(run, folder)
    blocks += _by_class(run, folder)
    blocks += _calibration(run, folder)
    if len(blocks) == 1:
        blocks.append(
            text(f"Its tables and pictures are not among its artifacts: evaluate {run.name} again.", kind="missing")
        )
    return Section("mistakes", title, tuple(blocks))


def _sheet(run: LoggedRun, folder: str) -> list[Block]:
    found, png = _rows(run, f"{folder}/mistakes.csv"), run.artifact(f"{folder}/mistakes.png")
    blocks: list[Block] = []
    if png and not found:
        return [text("It gets no image wrong.")]
    if png:
        worst = "".join(f" {one['label']} taken for {one['predicted']}." for one in found[:3])
        caption = "The worst mistakes, worst first: those images whose own class had the least probability."
        blocks.append(
            Picture("mistakes", png, f"Contact sheet of wrong images, {len(found)} in all. The first:{worst}", caption)
        )
    rows = tuple(
        (one["key"], one["label"], one["predicted"], f"{float(one['probability_of_predicted']):.1%}", one["loss"])
        for one in found
    )
    if rows:
        headings = ("image", "is", "taken for", "with probability", "loss")
        blocks.append(Table("The same as a table", headings, rows, frozenset((3, 4)), is_folded=True))
    return blocks


def _by_class(run: LoggedRun, folder: str) -> list[Block]:
    counted = [one for one in _rows(run, f"{folder}/classes.csv") if one["top1_accuracy"]]
    counted.sort(key=lambda one: (float(one["top1_accuracy"]), int(one["class"])))
    blocks: list[Block] = []
    if counted:
        rows = tuple(
            (one["name"], f"{int(one['images']):,}", percent(1 - float(one["top1_accuracy"])), _taken_for(one))
            for one in counted[:MOST_CLASSES]
        )
        some = (
            f"the {MOST_CLASSES} of {len(counted)} with the highest error"
            if len(counted) > MOST_CLASSES
            else "highest error first"
        )
        headings = ("class", "images", "top-1 error", "most taken for")
        blocks.append(Table(f"Classes, {some}", headings, rows, frozenset((1, 2))))
    if pairs := _rows(run, f"{folder}/confused_pairs.csv")[:MOST_PAIRS]:
        blocks.append(_mixed_up(pairs))
    if png := run.artifact(f"{folder}/confusion.png"):
        caption = "Which classes are taken for which."
        blocks.append(Picture("confusion", png, f"{caption} The tables above have the most frequent ones.", caption))
    return blocks


def _mixed_up(pairs: Rows) -> Table:
    rows = tuple(
        (f"{one['label']} taken for {one['predicted']}", one["images"], percent(float(one["share_of_label"])))
        for one in pairs
    )
    return Table("The pairs mixed up most", ("pair", "images", "share of the class"), rows, frozenset((1, 2)))


def _taken_for(one: dict[str, str]) -> str:
    times = "once" if one["times"] == "1" else f"{one['times']} times"
    return f"{one['most_taken_for']}, {times}" if one["most_taken_for"] else ""


def _calibration(run: LoggedRun, folder: str) -> list[Block]:
    png = run.artifact(f"{folder}/reliability.png")
    if png is None:
        return []
    prefix = "eval" if run.kind == "ensemble" or folder.endswith("/as_trained") else f"eval_{folder.rpartition('/')[2]}"
    error = run.metric(f"{prefix}_calibration_error")
    told = f"Confidence and accuracy differ by {percent(error)} on average." if error is not None else ""
    caption = f"Is it right as often as it is sure? On the diagonal it would be. {told}"
    return [Picture("calibration", png, f"Reliability diagram. {told}", caption)]


def _rows(run: LoggedRun, path: str) -> Rows:
    content = run.artifact(path)
    return list(csv.DictReader(content.decode().splitlines(keepends=True))) if content else []
