"""The sections on the trainings: the table of runs, their curves, what the network is shown, their speed."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from pipelines.report.blocks import Block, Chart, Key, Picture, Section, Table, text
from pipelines.report.charts import COLOURS, QUIET, Line, colours_of, lines_over, of_percent
from pipelines.report.facts import Errors, Facts, between, errors_by_protocol, percent
from pipelines.report.words import speed_of
from pipelines.tracking.logged import Curve, LoggedRun

COMMIT_SHOWN = 7
STATUS = {"FINISHED": "finished", "RUNNING": "running", "FAILED": "failed", "KILLED": "stopped"}
_RUNS = (
    "run", "network", "parameters", "seed", "epochs", "workers", "top-1 error", "95% interval", "top-5 error",
    "95% interval", "images/s", "code", "status",
)  # fmt: skip


def runs(facts: Facts) -> Section:
    """Every training and ensemble, whatever became of it."""
    shown = (*facts.study.trainings, *facts.study.ensembles)
    headings, rows = list(_RUNS), [_row(facts, run) for run in shown]
    numeric = set(range(2, 11))
    if len(facts.digests) > 1:
        headings.insert(1, "dataset")
        rows = [(row[0], run.dataset_digest[:8], *row[1:]) for row, run in zip(rows, shown, strict=True)]
        numeric = {column + 1 for column in numeric}
    blocks: list[Block] = [Table("Trainings and ensembles", tuple(headings), tuple(rows), frozenset(numeric))]
    if any("*" in cell for row in rows for cell in row):
        blocks.append(
            text(
                "* on the validation images after its last epoch: jobs/evaluate.py adds the interval, and all that "
                "follows from single predictions.",
                kind="missing",
            )
        )
    if others := _other_protocols(facts):
        blocks.append(others)
    return Section("runs", "The runs", tuple(blocks))


def _row(facts: Facts, run: LoggedRun) -> tuple[str, ...]:
    told = run.parameters.get
    errors = errors_by_protocol(run).get(facts.protocol) or next(iter(errors_by_protocol(run).values()), None)
    if run.kind == "ensemble":
        about = (f"average of {len(facts.members(run))}", "", "", "", "")
    else:
        asked = told("epochs", "")
        epochs = asked if run.is_finished and asked == str(run.epochs) else f"{run.epochs} of {asked}"
        count = run.tags.get("strata.parameters", "")
        parameters = f"{int(count):,}" if count.isdecimal() else ""
        workers = run.tags.get("strata.workers", told("workers", ""))
        about = (run.network, parameters, told("seed", ""), epochs, workers)
    speed = speed_of(run)
    return (
        run.name, *about, *_errors(run, errors), f"{speed:,.0f}" if speed else "", _code(run),
        STATUS.get(run.status, run.status.lower()),
    )  # fmt: skip


def _errors(run: LoggedRun, errors: Errors | None) -> tuple[str, ...]:
    if errors:
        return (percent(errors.top1), between(errors.top1_between), percent(errors.top5), between(errors.top5_between))
    top1, top5 = run.metric("val_top1_error"), run.metric("val_top5_error")
    return (f"{percent(top1)}*" if top1 is not None else "", "", f"{percent(top5)}*" if top5 is not None else "", "")


def _code(run: LoggedRun) -> str:
    commit = run.tags.get("mlflow.source.git.commit", "")[:COMMIT_SHOWN]
    return f"{commit}, changed" if commit and run.tags.get("strata.git_changed") == "true" else commit


def _other_protocols(facts: Facts) -> Table | None:
    rows = [
        (run.name, one.protocol, percent(one.top1), between(one.top1_between), percent(one.top5), f"{one.images:,}")
        for run in facts.study.runs
        for one in errors_by_protocol(run).values()
        if one.protocol != facts.protocol
    ]
    headings = ("run", "protocol", "top-1 error", "95% interval", "top-5 error", "images")
    return Table("Shown images in other ways", headings, tuple(rows), frozenset((2, 3, 4, 5))) if rows else None


def curves(facts: Facts) -> Section:
    """Loss, error, learning rate and speed over the epochs, all trainings on the same axes."""
    drawn = [run for run in facts.study.trainings if run.epochs]
    if not drawn:
        gone_on = text("No training has come to the end of its first epoch: the curves begin there.", kind="missing")
        return Section("curves", "How they learned", (gone_on,))
    colours, keys = _colours(drawn)
    charts = (
        ("Loss", "loss", "train_loss", "val_loss"),
        ("Top-1 error", "error, %", "train_top1_error", "val_top1_error"),
        ("Learning rate at the epoch's end", "learning rate", "", "learning_rate"),
        ("Speed", "images/s", "", "images_per_s"),
    )
    panels = tuple(
        lines_over(title, "epoch", ylabel, lines, "log" if title == "Loss" else "linear")
        for title, ylabel, dashed, solid in charts
        if (lines := _lines(drawn, colours, dashed, solid))
    )
    dashes = (Key("validation images", QUIET, "line"), Key("training images, as augmented", QUIET, "dashes"))
    caption = "Training figures are averages over the epoch, while the weights move; validation is at its end."
    chart = Chart("curves", panels, (*keys, *dashes), _spoken(drawn), caption)
    return Section("curves", "How they learned", (chart,))


def _colours(drawn: Sequence[LoggedRun]) -> tuple[dict[str, str], tuple[Key, ...]]:
    """By run id. A colour a training if there are few, else a colour a network."""
    if len(drawn) <= len(COLOURS):
        of_runs = colours_of([run.run_id for run in drawn])
        return of_runs, tuple(Key(run.name, of_runs[run.run_id], "line") for run in drawn)
    networks = sorted({run.network for run in drawn})
    of_networks = colours_of(networks)
    keys = tuple(Key(network, colour, "line") for network, colour in of_networks.items())
    return {run.run_id: of_networks[run.network] for run in drawn}, keys


def _lines(drawn: Sequence[LoggedRun], colours: Mapping[str, str], dashed: str, solid: str) -> list[Line]:
    """Of what was logged of two curves."""
    return [
        Line(_in_units(name, run.curves[name]), colours[run.run_id], is_dashed=name == dashed)
        for name in (dashed, solid)
        for run in drawn
        if run.curves.get(name)
    ]


def _in_units(name: str, curve: Curve) -> Curve:
    return of_percent(curve) if name.endswith("error") else curve


def _spoken(drawn: Sequence[LoggedRun]) -> str:
    last = [
        f"{run.name}: after {run.epochs} epochs a validation loss of {run.metrics['val_loss']:.4g} and a top-1 error "
        f"of {percent(run.metrics['val_top1_error'])}"
        for run in drawn
    ]
    return "Four charts over the epochs: loss, top-1 error, learning rate, images a second. " + "; ".join(last)


def inputs(facts: Facts) -> Section:
    """What the best network is shown, and what its first layer makes of it."""
    run = next((run for run, _ in facts.judged), None) or max(facts.study.trainings, key=lambda run: run.epochs)
    told = {
        "samples.png": ("samples", f"Training images as {run.name} is given them, augmented."),
        "filters.png": ("filters", f"The filters of {run.name}'s first layer, after training."),
    }
    pictures: list[Block] = [
        Picture(name, png, caption, caption) for path, (name, caption) in told.items() if (png := run.artifact(path))
    ]
    none = text(
        f"The training {run.name} has logged no pictures: one of this version does at its end; fresh=true trains it "
        "anew.",
        kind="missing",
    )
    return Section("inputs", "What the network sees", tuple(pictures) or (none,))


def speed(facts: Facts) -> Section:
    """Images a second, and what the hosts were busy with."""
    shown = [run for run in facts.study.trainings if run.epochs]
    if not shown:
        return Section("speed", "Speed", (text("There is no speed before the first epoch's end.", kind="missing"),))
    columns = {
        "processors busy": "cpu_utilization_percentage",
        "GPUs busy": "utilization_percentage",
        "memory in use": "system_memory_usage_megabytes",
    }
    logged = {heading: name for heading, name in columns.items() if any(name in run.load for run in shown)}
    rows = tuple(_speeds(run, tuple(logged.values())) for run in shown)
    headings = ("run", "workers", "images/s", "waited for input", "from begin to end", *logged)
    table = Table("Speed of the trainings", headings, rows, frozenset(range(1, len(headings))))
    hosts = sorted({run.tags["strata.hosts"] for run in shown if "strata.hosts" in run.tags})
    notes = (
        f"Hosts: {' | '.join(hosts)}. " if hosts else "",
        "Images a second: in training, of the median epoch. Waited: the share of an epoch in which there was nothing "
        "to compute on, averaged over epochs. From begin to end: with validation, and with any pause. Busy: averaged "
        "over hosts and time, whatever else they were doing.",
    )
    return Section("speed", "Speed", (table, text(*notes, kind="note")))


def _speeds(run: LoggedRun, logged: Sequence[str]) -> tuple[str, ...]:
    waited = run.curves.get("input_wait_fraction", {}).values()
    speed = speed_of(run)
    minutes = f"{(run.ended_ms - run.started_ms) / 60_000:,.1f} min" if run.ended_ms else ""
    units = {"system_memory_usage_megabytes": ("{:,.1f} GB", 1e-3)}
    loads = []
    for name in logged:
        form, scale = units.get(name, ("{:.0f}%", 1))
        loads.append(form.format(scale * run.load[name]) if name in run.load else "")
    return (
        run.name, run.tags.get("strata.workers", ""), f"{speed:,.0f}" if speed else "",
        f"{fmean(waited):.1%}" if waited else "", minutes, *loads,
    )  # fmt: skip
