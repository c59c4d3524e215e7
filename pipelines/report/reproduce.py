"""The section on how to get the same again: code, dataset, settings, commands."""

import json
import re
import shlex
from collections.abc import Sequence
from typing import Any

import yaml

from pipelines.report.blocks import Block, Code, Mono, Section, text
from pipelines.report.facts import AS_TRAINED, Facts
from pipelines.report.words import workers_of
from pipelines.tracking.logged import LoggedRun

_OWN = ("seed", "seeds", "name", "fresh", "tracking", "runs_dir")
"""Settings of a training in which members of a study differ, or that say where it runs."""


def reproduce(facts: Facts) -> Section:
    """Files and commands, in the order in which they are needed."""
    blocks: list[Block] = [_versions(facts)]
    if facts.manifest:
        dataset = facts.manifest.configuration | {"tracking": None}
        blocks.append(_file("preprocess.yaml", {key: value for key, value in dataset.items() if value is not None}))
    commands = ["spark-submit jobs/preprocess.py preprocess.yaml"] if facts.manifest else []
    alike = _alike(facts.study.trainings)
    for number, (settings, members) in enumerate(alike, start=1):
        name = "train.yaml" if len(alike) == 1 else f"train{number}.yaml"
        blocks.append(_file(name, settings))
        commands += _trained(name, members, facts.study.name)
    tracking = {"tracking": {"experiment": facts.study.name}}
    if facts.judged:
        predicted = {"dataset": facts.judged[0][0].parameters.get("dataset", "")}
        blocks.append(_file("evaluate.yaml", predicted | tracking))
        commands.append("horovodrun -np 2 python jobs/evaluate.py evaluate.yaml")
    if facts.ensemble:
        blocks.append(_file("ensemble.yaml", _averaged(facts, facts.ensemble[0]) | tracking))
        commands.append("spark-submit jobs/ensemble.py ensemble.yaml")
    commands.append(f"python jobs/report.py {_given('study', facts.study.name)}")
    blocks.insert(1, Code("Commands, in the repository's root", "\n".join(commands)))
    if facts.protocol != AS_TRAINED:
        blocks.append(text("The protocol ", Mono(facts.protocol), " is set by protocol.kind and protocol.test_scales."))
    return Section("again", "How to get the same again", tuple(blocks))


def _versions(facts: Facts) -> Block:
    commits = sorted({run.tags.get("mlflow.source.git.commit", "") for run in facts.study.trainings} - {""})
    changed = any(run.tags.get("strata.git_changed") == "true" for run in facts.study.trainings)
    versions = sorted({run.tags["strata.version"] for run in facts.study.trainings if "strata.version" in run.tags})
    parts: list[str] = [f"Strata {', '.join(versions) or 'of an unknown version'}"]
    if commits:
        parts += [", code of commit ", Mono(", ".join(commits))]
    parts.append(
        ", whose requirements.lock has the versions of all packages." if commits else "; its commit is not known."
    )
    if changed:
        parts.append(" Some of it was changed since that commit, so the commit alone may not give the same.")
    if facts.digests:
        parts += [" Content digest of the dataset: ", Mono(", ".join(facts.digests)), "."]
    return text(*parts)


def _alike(trainings: Sequence[LoggedRun]) -> list[tuple[dict[str, Any], list[LoggedRun]]]:
    """Trainings by their settings, but for those that members differ in."""
    groups: dict[str, tuple[dict[str, Any], list[LoggedRun]]] = {}
    for run in trainings:
        content = run.artifact("settings.yaml")
        settings = yaml.safe_load(content) if content else None
        if not isinstance(settings, dict):
            continue
        shared = {key: value for key, value in settings.items() if key not in _OWN}
        groups.setdefault(json.dumps(shared, sort_keys=True), (shared, []))[1].append(run)
    return list(groups.values())


def _trained(name: str, members: Sequence[LoggedRun], study: str) -> list[str]:
    """One command for seeds alone, else one for each training."""
    launch, experiment = (
        f"horovodrun -np {workers_of(members[0])} python jobs/train.py {name}",
        _given("tracking.experiment", study),
    )
    unnamed = list(dict.fromkeys(_seed(run) for run in members if not run.parameters.get("name")))
    commands = []
    if len(unnamed) > 1:
        commands.append(f"{launch} 'seeds=[{','.join(unnamed)}]' {experiment}")
    elif unnamed:
        commands.append(f"{launch} seed={unnamed[0]} {experiment}")
    named = {run.name: run for run in members if run.parameters.get("name")}
    for run in named.values():
        commands.append(f"{launch} seed={_seed(run)} {_given('name', run.name)} {experiment}")
    return commands


def _averaged(facts: Facts, run: LoggedRun) -> dict[str, Any]:
    told = run.parameters
    numbers = {key: int(told[key]) for key in ("seed", "orders", "greedy") if told.get(key, "").isdecimal()}
    words = {key: told[key] for key in ("name", "combine") if key in told}
    return words | {"runs": facts.members(run)} | numbers


def _seed(run: LoggedRun) -> str:
    told = run.parameters.get("seed", "")
    return told if told.isdecimal() else "0"


def _given(key: str, value: str) -> str:
    """`key=value` as a shell and then YAML read it."""
    is_plain = re.fullmatch(r"[A-Za-z][\w.-]*", value) and yaml.safe_load(value) == value
    return shlex.quote(f"{key}={value if is_plain else json.dumps(value)}")


def _file(name: str, tree: dict[str, Any]) -> Code:
    return Code(name, yaml.safe_dump(tree, sort_keys=False, allow_unicode=True).rstrip(), is_folded=True)
