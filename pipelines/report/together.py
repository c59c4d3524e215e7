"""The section on the ensemble: who is in it, and how its error falls with the number of its members."""

import re
from collections.abc import Mapping

from pipelines.report.blocks import Block, Chart, Key, Mono, Picture, Section, Table, text
from pipelines.report.charts import COLOURS, INK, Line, lines_over, of_percent
from pipelines.report.facts import Errors, Facts, between, percent
from pipelines.summary.published import PUBLISHED
from pipelines.tracking.logged import Curve, LoggedRun

ALEXNET = "alexnet_two_tower"


def published_curve() -> dict[int, float]:
    """AlexNet's top-5 error on ImageNet over the number of networks averaged, in percent."""
    entries = [entry for entry in PUBLISHED if entry.network == ALEXNET and entry.images == "ImageNet"]
    sizes = {match[1]: entry.top5 for entry in entries if (match := re.match(r"(\d+) nets?", entry.protocol))}
    return {int(size): top5 for size, top5 in sizes.items() if top5 is not None}


def ensemble(facts: Facts) -> Section:
    """Its error beside its members', the curve over 1, 2, … of them, and who agrees with whom."""
    if facts.ensemble is None:
        return Section("ensemble", "The ensemble", (_none(facts),))
    run, errors = facts.ensemble
    blocks: list[Block] = [_told(facts, run, errors)]
    curves = {place: run.curves.get(f"curve_{place}_error", {}) for place in ("top1", "top5")}
    if len(curves["top1"]) > 1:
        blocks += [_chart(run, curves), _table(curves)]
    blocks += _agreement(run, errors)
    return Section("ensemble", "The ensemble", tuple(blocks))


def _none(facts: Facts) -> Block:
    if len(facts.judged) < 2:
        return text(
            "There is none yet. It needs two trainings or more, ", Mono("jobs/train.py CONF.yaml seeds=[1..3]"),
            ", their predictions, ", Mono("jobs/evaluate.py"), ", and then ",
            Mono("spark-submit jobs/ensemble.py CONF.yaml"), ".", kind="missing",
        )  # fmt: skip
    return text(
        f"There is none yet: {len(facts.judged)} networks have predictions, and ",
        Mono("spark-submit jobs/ensemble.py CONF.yaml"), " averages them.", kind="missing",
    )  # fmt: skip


def _told(facts: Facts, run: LoggedRun, errors: Errors) -> Block:
    combined = {"logits": "logits", "weights": "probabilities, with fitted weights,"}
    names = facts.members(run)
    parts: list[str] = [
        Mono(run.name),
        f" averages the {combined.get(run.parameters.get('combine', ''), 'probabilities')} of ",
    ]
    for place, name in enumerate(names):
        parts += ["" if place == 0 else " and " if place == len(names) - 1 else ", ", Mono(name)]
    parts.append(
        f". Of {errors.images:,} images it gets {percent(errors.top1)} wrong ({between(errors.top1_between)}), for "
        f"top-5 {percent(errors.top5)} ({between(errors.top5_between)})."
    )
    if (middle := run.metric("median_member_top1_error")) is not None:
        parts.append(f" Its median member gets {percent(middle)} wrong.")
    if (greedy := run.metric("greedy_top1_error")) is not None:
        parts.append(
            f" Greedy selection on one half of the images takes {run.metrics['greedy_members']:.0f} of the members, "
            f"which together get {percent(greedy)} of the other half wrong."
        )
    return text(*parts)


def _chart(run: LoggedRun, curves: Mapping[str, Curve]) -> Chart:
    named = {"top-1": (curves["top1"], COLOURS[0]), "top-5": (curves["top5"], COLOURS[1])}
    absolute = [Line(of_percent(curve), colour, mark="o") for curve, colour in named.values()]
    relative = [
        Line({size: value / curve[1] for size, value in curve.items()}, colour, mark="o")
        for curve, colour in named.values()
        if curve.get(1)
    ]
    published = published_curve()
    alexnet = Line({size: top5 / published[1] for size, top5 in published.items()}, INK, is_dashed=True, mark="^")
    panels = (
        lines_over("Average of the members", "members", "error, %", absolute),
        lines_over("Beside the published gain", "members", "error / error of one member", [*relative, alexnet]),
    )
    keys = tuple(Key(f"{name} error, measured", colour, "line") for name, (_, colour) in named.items())
    told = ", ".join(f"{size} {percent(value)}" for size, value in sorted(curves["top1"].items()))
    fell = " → ".join(f"{top5:g}%" for _, top5 in sorted(published.items()))
    return Chart(
        "ensemble", panels, (*keys, Key("AlexNet on ImageNet, top-5, as published", INK, "dashes")),
        f"Top-1 error over the number of members: {told}. As published, AlexNet's top-5 error fell {fell} with "
        f"{', '.join(map(str, sorted(published)))} networks.",
        f"Each point is the mean over orders of the members. AlexNet's top-5 error on ImageNet fell {fell} with "
        f"{', '.join(map(str, sorted(published)))} networks, two of the seven trained on more images (Krizhevsky et "
        "al. 2012); on other images only the shares can be set beside it.",
    )  # fmt: skip


def _table(curves: Mapping[str, Curve]) -> Table:
    sizes = sorted(curves["top1"])
    rows = tuple(
        (str(size), percent(curves["top1"][size]), percent(curves["top5"][size]) if size in curves["top5"] else "")
        for size in sizes
    )
    return Table(
        "Error over the number of members", ("members", "top-1 error", "top-5 error"), rows, frozenset((0, 1, 2))
    )


def _agreement(run: LoggedRun, errors: Errors) -> list[Block]:
    share = run.metric("mean_pairwise_agreement")
    png = run.artifact(f"evaluation/{errors.protocol}/agreement.png")
    told = (
        f"Two members find the same class most probable for {percent(share)} of the images, on average."
        if share
        else ""
    )
    if png is None:
        return [text(told)] if told else []
    caption = f"{told} Where members disagree, an average can be better than each of them."
    return [Picture("agreement", png, f"Matrix of agreement between members. {told}", caption)]
