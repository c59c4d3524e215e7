"""Every setting of every job as a page, from where it is declared: `python -m pipelines.reference` writes it.

`--help` (command_line.py) tells the same of one job.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from pydantic.fields import FieldInfo

from pipelines.command_line import branch_of, kind_of, shown, type_name
from pipelines.config import (
    EnsembleSettings,
    EvaluateSettings,
    PreprocessSettings,
    ReportSettings,
    ScoreSettings,
    Settings,
    SummarizeSettings,
    SyncSettings,
    TrainSettings,
    Transform,
    VisualizeSettings,
)

PAGE = Path(__file__).resolve().parents[1] / "docs" / "configuration.md"

JOBS: dict[str, tuple[str, type[Settings]]] = {
    "preprocess": ("spark-submit jobs/preprocess.py CONF.yaml", PreprocessSettings),
    "train": ("horovodrun -np N python jobs/train.py CONF.yaml [CONF.yaml …]", TrainSettings),
    "evaluate": ("horovodrun -np N python jobs/evaluate.py CONF.yaml", EvaluateSettings),
    "ensemble": ("spark-submit jobs/ensemble.py CONF.yaml", EnsembleSettings),
    "report": ("python jobs/report.py STUDY", ReportSettings),
    "score": ("spark-submit jobs/score.py CONF.yaml", ScoreSettings),
    "visualize": ("python jobs/visualize.py CONF.yaml", VisualizeSettings),
    "summarize": ("python jobs/summarize.py [NETWORK]", SummarizeSettings),
    "sync": ("python jobs/sync.py [FOLDER]", SyncSettings),
}
"""Of each file in jobs/, in the order of the page: how it is started, and what it takes."""

_HEADING = """\
# Configuration

Every setting of every job. A job starts from the defaults, takes what its YAML file in `conf/` says, then each
`key=value` of the command line, in their order; values are YAML, so lists (`[30, 60]`), numbers and `null` work. A key
that is not here is refused, with the nearest that is. A switch may be given by its last name: `--prune` for
`output.prune=true`.

Generated from `pipelines/config/` by `python -m pipelines.reference`; `--help` of a job prints its part of it."""


def page() -> str:
    """The whole of it, in Markdown."""
    told: dict[type[Settings], str] = {}
    lines = [_HEADING]
    for job, (command, settings) in JOBS.items():
        about = (settings.__doc__ or "").partition(": ")[2].strip()
        lines += [f"## {job}", f"    {command} [key=value …]", _plain(about[:1].upper() + about[1:])]
        lines += _group(settings, job, "", told)
    return "\n\n".join([*lines, *_transforms()]) + "\n"


def _group(settings: type[Settings], job: str, prefix: str, told: dict[type[Settings], str]) -> Iterator[str]:
    """The values of a group, then the groups in it. told: of those that were shown before, where."""
    fields = settings.model_fields.items()
    yield "\n".join(_entry(prefix + name, field) for name, field in fields if not branch_of(field))
    for name, field in fields:
        branch = branch_of(field)
        if branch is None:
            continue
        key = f"{prefix}{name}"
        yield f"### {job}: {key}"
        if branch in told:
            yield f"As [{told[branch]}](#{_anchor(told[branch])}), below `{key}`."
            continue
        told[branch] = f"{job}: {key}"
        # A group's own text, unless it only says whose it is; then what the field that holds it says.
        yield from (_plain(text) for text in (branch.__doc__, field.description) if text)
        yield from _group(branch, job, f"{key}.", told)


def _entry(key: str, field: FieldInfo) -> str:
    default = "required" if field.is_required() else f"default {shown(field.default)}"
    return f"- `{key}` ({_plain(type_name(field))}; {_plain(default)}): {_plain(field.description or '')}"


def _transforms() -> Iterator[str]:
    yield "## Transforms"
    yield "An entry of a list of transforms, such as `{kind: random_crop, size: 224}`, is one of these."
    for transform in get_args(get_args(Transform)[0]):
        yield f"### {kind_of(transform)}"
        fields = [(name, field) for name, field in transform.model_fields.items() if name != "kind"]
        yield "\n".join(_entry(name, field) for name, field in fields)


def _plain(text: str) -> str:
    """In one line, with what Markdown would take for its own written out."""
    return re.sub(r"([*\[\]\\])", r"\\\1", " ".join(text.split())).replace("<", "&lt;")


def _anchor(heading: str) -> str:
    """As Python's Markdown and GitHub both make it of these headings."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"written: {PAGE}; next: make docs")
