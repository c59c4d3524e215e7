"""The section on the revolution of depth: the errors that papers published, and those measured here."""

import re
from collections.abc import Sequence

from pipelines.report.blocks import Block, Chart, Key, Section, Table, text
from pipelines.report.charts import COLOURS, PUBLISHED, QUIET, Mark, Row, error_rows
from pipelines.report.facts import Errors, Facts, percent
from pipelines.summary.published import PUBLISHED as PUBLISHED_ERRORS
from pipelines.summary.published import plainest
from pipelines.summary.revolution import Compared
from pipelines.tracking.logged import LoggedRun

SINGLE, TOGETHER = COLOURS[0], COLOURS[1]
MOST_ROWS = 24
"""Networks that have a row each; of more, the best."""
_SEVERAL = "◆"
"""Of a published average, before its error: the mark that it has in the chart."""
_NAME = 28
"""Characters of a run's name that a chart shows."""


def revolution(facts: Facts, compared: Sequence[Compared]) -> Section:
    """Side by side on one axis where the images are the same, else each on its own."""
    own_axes = (*_measured(facts), _published(compared))
    blocks = (_same_images(facts, compared),) if facts.is_of_imagenet else own_axes
    return Section("depth", "The revolution of depth", (_told(facts), *blocks, _table()))


def _told(facts: Facts) -> Block:
    first, last = plainest("alexnet_two_tower"), plainest("resnet152")
    assert first is not None, "they are what the section is about"
    assert last is not None, "the same"
    begins = (
        f"From AlexNet's 8 layers in 2012 to ResNet's 152 in 2015 the published top-5 error of a single network on "
        f"ImageNet fell from {first.top5:g}% to {last.top5:g}%. "
    )
    if facts.is_of_imagenet:
        return text(
            begins, "This study's networks are judged by the same 50,000 validation images, so measured and "
            "published errors stand on one axis. The papers test each in their own way, as the table says; ours were "
            f"shown images by the protocol {facts.protocol}.",
        )  # fmt: skip
    return text(
        begins, "This study is not judged by ImageNet's 50,000 validation images, so its errors cannot be set beside "
        "those: they have an axis of their own, and the published ones follow for reference.",
    )  # fmt: skip


def _measured(facts: Facts) -> tuple[Block, ...]:
    if not facts.judged:
        return (
            text(
                "There is no measured error with an interval yet: jobs/evaluate.py, for the study's dataset, makes it.",
                kind="missing",
            ),
        )
    shown = sorted(facts.judged[:MOST_ROWS], key=lambda one: (_layers(one[0]), facts.study.runs.index(one[0])))
    rows = [
        Row(_short(run.name), marks=(_single(errors.top1, errors.top1_between),), told=_depth(run, errors))
        for run, errors in shown
    ]
    keys = [Key("one network, with its 95% interval", SINGLE, "dot")]
    if facts.ensemble:
        run, errors = facts.ensemble
        rows.append(
            Row(_short(run.name), marks=(_together(errors.top1, errors.top1_between),), told=percent(errors.top1))
        )
        keys.append(Key("the ensemble", TOGETHER, "diamond"))
    some = "" if len(shown) == len(facts.judged) else f"The {len(shown)} best of {len(facts.judged)} networks. "
    alternative = "Measured top-1 error: " + "; ".join(f"{row.label} {row.told}" for row in rows)
    return (
        Chart(
            "measured", (error_rows(rows, "top-1 error on this study's images, %"),), tuple(keys), alternative,
            f"{some}Measured here, by the protocol {facts.protocol}; from few layers to many.",
        ),
    )  # fmt: skip


def _published(compared: Sequence[Compared]) -> Chart:
    rows = [_row(network) for network in _known(compared)]
    return Chart(
        "published", (error_rows(rows, "top-5 error on ImageNet, %, as published"),), _published_keys(),
        _spoken(rows), "Published, not measured here. The table below says how each was tested.",
    )  # fmt: skip


def _same_images(facts: Facts, compared: Sequence[Compared]) -> Chart:
    rows = []
    for network in _known(compared):
        published = _row(network)
        own = [errors for run, errors in facts.judged if run.network == network.name]
        measured = tuple(_single(errors.top5, errors.top5_between) for errors in own)
        told = f"{published.told}; here {min(100 * errors.top5 for errors in own):.2f}" if own else published.told
        rows.append(Row(published.label, published.bar, published.marks + measured, told))
    if facts.ensemble:
        run, errors = facts.ensemble
        rows.append(
            Row(_short(run.name), marks=(_together(errors.top5, errors.top5_between),), told=percent(errors.top5))
        )
    keys = (
        *_published_keys(),
        Key("measured here, with its 95% interval", SINGLE, "dot"),
        Key("the ensemble", TOGETHER, "diamond"),
    )
    return Chart(
        "depth", (error_rows(rows, "top-5 error on ImageNet's validation images, %"),), keys, _spoken(rows),
        "Grey: as published. In colour: measured here.",
    )  # fmt: skip


def _known(compared: Sequence[Compared]) -> list[Compared]:
    """With a published top-5 error, oldest first."""
    return [one for one in compared if one.for_imagenet and one.published and one.published.top5 is not None]


def _row(network: Compared) -> Row:
    assert network.published is not None, "_known has seen to it"
    top5, together = network.published.top5 or 0.0, _several(network.name)
    marks = () if together is None else (Mark(together, QUIET, "D"),)
    return Row(
        f"{network.name}, {network.depth} layers",
        top5,
        marks,
        f"{top5}" + (f", {_SEVERAL} {together}" if marks else ""),
    )


def _several(network: str) -> float | None:
    """The lowest published error of several networks of this one together."""
    entries = [
        entry for entry in PUBLISHED_ERRORS if entry.network == network and re.match(r"[2-9]\d* nets", entry.protocol)
    ]
    return min((entry.top5 for entry in entries if entry.top5 is not None), default=None)


def _published_keys() -> tuple[Key, ...]:
    return (
        Key("one network, as published", PUBLISHED, "bar"),
        Key("the average of several, as published", QUIET, "diamond"),
    )


def _table() -> Table:
    rows = tuple(
        (entry.network, entry.images, entry.protocol, _shown(entry.top1), _shown(entry.top5), entry.source)
        for entry in PUBLISHED_ERRORS
    )
    headings = ("network", "images", "tested with", "top-1 error, %", "top-5 error, %", "published in")
    return Table("Published errors, none of them measured here", headings, rows, frozenset((3, 4)), is_folded=True)


def _shown(error: float | None) -> str:
    return "" if error is None else str(error)


def _spoken(rows: Sequence[Row]) -> str:
    return "Top-5 error in percent: " + "; ".join(
        f"{row.label}: {row.told.replace(_SEVERAL, 'several together')}" for row in rows
    )


def _single(value: float, interval: tuple[float, float]) -> Mark:
    return Mark(100 * value, SINGLE, "o", (100 * interval[0], 100 * interval[1]))


def _together(value: float, interval: tuple[float, float]) -> Mark:
    return Mark(100 * value, TOGETHER, "D", (100 * interval[0], 100 * interval[1]))


def _layers(run: LoggedRun) -> int:
    told = run.tags.get("strata.layers", "")
    return int(told) if told.isdecimal() else 0


def _depth(run: LoggedRun, errors: Errors) -> str:
    layers = _layers(run)
    return f"{percent(errors.top1)}, {layers} layers" if layers else percent(errors.top1)


def _short(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"
