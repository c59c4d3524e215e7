"""The page's opening: what was trained on what, and how well it came out, in sentences made from the facts."""

from collections import Counter
from statistics import median

from pipelines.report.blocks import Block, Highlight, Mono, Strong, text
from pipelines.report.facts import Errors, Facts, between, percent
from pipelines.tracking.logged import LoggedRun

DIGEST_SHOWN = 12
_ENDS = {"FINISHED": "finished", "RUNNING": "still running", "FAILED": "failed", "KILLED": "stopped before its end"}


def opening(facts: Facts) -> tuple[Block, ...]:
    """Paragraphs for who opens this page and knows nothing of the study."""
    result = (*best_network(facts), *ensemble_of(facts))
    if not result:
        result = ("None of the networks is evaluated yet, so this page has no errors that can be compared.",)
    blocks: list[Block] = [text(*trained(facts), kind="lead"), text(*result, kind="lead")]
    if doubts := cautions(facts):
        blocks.append(text(" ".join(doubts), kind="note"))
    return (*blocks, text(*_MEANINGS, kind="note"))


_MEANINGS = (
    Strong("Top-1 error"), " is the share of images that a network gets wrong: another class than the image's own is "
    "at least as probable to it. For ", Strong("top-5 error"), " an image counts as wrong only if five others are. A ",
    Strong("95% interval"), " says how far such a share can be off because only so many images were looked at "
    "(bootstrap over the images): one of 0% has none, and what another seed would change is not in it.",
)  # fmt: skip


def trained(facts: Facts) -> tuple[str, ...]:
    """What was trained, and on what."""
    trainings = facts.study.trainings
    ends = Counter(_ENDS.get(run.status, run.status.lower()) for run in trainings)
    parts: tuple[str, ...] = (
        "The study ",
        Strong(facts.study.name),
        f" has {_counted(len(trainings), 'training')} of ",
    )
    for place, network in enumerate(facts.networks):
        parts += (_between(place, len(facts.networks)), *_described(facts, network))
    if set(ends) != {"finished"}:
        parts += (f" ({', '.join(f'{count} {end}' for end, count in sorted(ends.items()))})",)
    return (*parts, " on ", *_dataset(facts), ".")


def _described(facts: Facts, network: str) -> tuple[str, ...]:
    of_network = [run for run in facts.study.trainings if run.network == network]
    about = [f"{layers} layers with weights" for layers in _tags(of_network, "strata.layers")]
    about += [f"{int(count):,} parameters" for count in _tags(of_network, "strata.parameters") if count.isdecimal()]
    if len(facts.networks) > 1:
        about.insert(0, {1: "once", 2: "twice"}.get(len(of_network), f"{len(of_network)} times"))
    return (Mono(network or "unnamed"), f" ({', '.join(about)})" if about else "")


def _tags(runs: list[LoggedRun], name: str) -> list[str]:
    """The value, if all that have one agree."""
    values = {run.tags[name] for run in runs if name in run.tags}
    return list(values) if len(values) == 1 else []


def _dataset(facts: Facts) -> tuple[str, ...]:
    if len(facts.digests) > 1:
        return (f"{len(facts.digests)} different datasets",)
    address = facts.study.trainings[0].parameters.get("dataset", "")
    name = Strong(address.partition("?")[0].rstrip("/").rpartition("/")[2] or "a dataset")
    digest = (" (content digest ", Mono(f"{''.join(facts.digests)[:DIGEST_SHOWN]}…"), ")") if facts.digests else ()
    if facts.manifest is None:
        return (name, *digest, ", which is not where it was any more, so that its images are not counted here")
    splits, classes = facts.manifest.splits, len(facts.manifest.classes)
    return (
        name, f": {splits['train'].rows:,} training images of {classes:,} classes, and {splits['val'].rows:,} others "
        "to judge by", *digest,
    )  # fmt: skip


def best_network(facts: Facts) -> tuple[str, ...]:
    """And the others that err as much."""
    if not facts.judged:
        return ()
    (best, errors), *others = facts.judged
    alike = [run.name for run, other in others if other.top1 == errors.top1]
    parts: tuple[str, ...] = ("The best single network, ", Mono(best.name), ", gets ", *_told(errors))
    if alike:
        parts += (f", as {'does' if len(alike) == 1 else 'do'} {_counted(len(alike), 'other')}",)
    if len(facts.judged) > 2:
        parts += (f"; the median of all {len(facts.judged)} is {percent(median_top1(facts))}",)
    return (*parts, ".")


def _told(errors: Errors) -> tuple[str, ...]:
    return (
        Strong(percent(errors.top1)),
        f" of {errors.images:,} images wrong (95% interval {between(errors.top1_between)})",
    )


def median_top1(facts: Facts) -> float:
    return median(errors.top1 for _, errors in facts.judged)


def ensemble_of(facts: Facts) -> tuple[str, ...]:
    """The ensemble, and what it gains."""
    if facts.ensemble is None:
        return ()
    run, errors = facts.ensemble
    members = len(facts.members(run))
    parts = (f" The average of {members} networks, ", Mono(run.name), ", gets ", *_told(errors))
    gain = run.metric("gain_over_median_member")
    if gain is None:
        return (*parts, ".")
    if gain <= 0:
        return (*parts, ": no better than its median member." if gain == 0 else ": worse than its median member.")
    return (*parts, ", which is ", Strong(f"{100 * gain:.2f} percentage points"), " below its median member.")


def cautions(facts: Facts) -> list[str]:
    """What the figures cannot tell."""
    told = []
    if len(facts.digests) > 1:
        told.append("Errors on different datasets cannot be compared: the table of runs says which is which.")
    if facts.best and facts.best[1].images < 10_000:
        images = facts.best[1].images
        told.append(f"With {images:,} images one image more or less is {100 / images:.2f} percentage points.")
    if facts.ensemble and facts.judged:
        single, together = facts.judged[0][1], facts.ensemble[1]
        if together.top1 < single.top1 and together.top1_between[1] >= single.top1_between[0]:
            told.append(
                "The intervals of the ensemble and the best network overlap: these images alone do not settle which of "
                "them errs less."
            )
    if facts.ensemble and facts.ensemble[0].parameters.get("combine") == "weights":
        told.append("The ensemble's weights were fitted on one half of the images, so it is judged on the other alone.")
    return told


def highlights(facts: Facts) -> tuple[Highlight, ...]:
    """The few figures that one takes along."""
    shown = []
    if facts.judged:
        _, errors = facts.judged[0]
        shown.append(
            Highlight("best single network", percent(errors.top1), f"top-1 error, 95%: {between(errors.top1_between)}")
        )
    if facts.ensemble:
        run, errors = facts.ensemble
        label = f"ensemble of {len(facts.members(run))}"
        shown.append(Highlight(label, percent(errors.top1), f"top-1 error, 95%: {between(errors.top1_between)}"))
        if (gain := run.metric("gain_over_median_member")) is not None:
            shown.append(Highlight("gain", f"{100 * gain:.2f} points", "of the ensemble over its median member"))
    speeds = [(speed, run) for run in facts.study.trainings if (speed := speed_of(run))]
    if speeds:
        speed, run = max(speeds, key=lambda one: one[0])
        shown.append(
            Highlight(
                "training speed", f"{speed:,.0f}/s", f"images, the fastest run: {_counted(workers_of(run), 'worker')}"
            )
        )
    return tuple(shown)


def speed_of(run: LoggedRun) -> float | None:
    """Images a second in training: the median epoch's."""
    values = run.curves.get("images_per_s", {}).values()
    return median(values) if values else None


def workers_of(run: LoggedRun) -> int:
    told = run.tags.get("strata.workers", "")
    return int(told) if told.isdecimal() else 1


def _counted(count: int, noun: str) -> str:
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    return f"{words[count] if count < len(words) else f'{count:,}'} {noun}{'' if count == 1 else 's'}"


def _between(place: int, count: int) -> str:
    """What stands before the entry of a list."""
    return "" if place == 0 else " and " if place == count - 1 else ", "
