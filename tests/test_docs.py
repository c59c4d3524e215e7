"""What README and docs/ print can be typed as it stands, and the messages that they quote are those of the code."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

import models
from benchmarks.everything import ALL
from pipelines.command_line import parse, parse_each
from pipelines.config import SummarizeSettings, TrainSettings
from pipelines.reference import JOBS, PAGE, page
from tests.conftest import REPOSITORY

REFERENCE = "docs/configuration.md"
QUICKSTART = "docs/quickstart.md"
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *(str(p.relative_to(REPOSITORY)) for p in sorted(REPOSITORY.glob("docs/**/*.md"))),
]
PROGRAMS = re.compile(r"(spark-submit|horovodrun|python|make|pytest|mlflow|sh) ")
JOB = re.compile(r"(?P<start>.*)\bjobs/(?P<job>\w+)\.py ?(?P<arguments>.*)")
SUBJECTS = {"summarize": "network", "report": "study", "sync": "folder"}
"""Of jobs that take no file: what their first word stands for."""

NEEDS = re.compile(r"cluster|hosts\b|ImageNet|MNIST|GPU|torchvision|takes minutes")
"""By such a word, in its line or in the heading or paragraph before it, a reader sees that a command needs more than
this machine."""

BY_HAND = {"format", "clean", "lock"}
"""Targets that change the clone or go to the network."""


class Command(NamedTuple):
    page: str
    text: str
    around: str
    """Heading and paragraph before its block, and the whole line."""


def commands_of(name: str) -> list[Command]:
    """The lines of indented and fenced blocks that begin with a program; of the Makefile those of `demo`."""
    found, heading, paragraph, begun, previous, is_fenced = [], "", "", "", "", False
    for line in (REPOSITORY / name).read_text().splitlines():
        if line.startswith("```"):
            is_fenced = not is_fenced
        elif is_fenced or line.startswith("    "):
            whole = f"{begun} {line.strip()}".strip()
            begun = whole.removesuffix("\\") if whole.endswith("\\") else ""
            if not begun and PROGRAMS.match(whole):
                found.append(Command(name, whole.split("  #")[0].strip(), f"{heading} {paragraph} {whole}"))
        elif line.startswith("#"):
            heading, paragraph = line, ""
        elif line.strip():
            paragraph = f"{paragraph} {line}" if previous.strip() else line
        previous = line
    return found


COMMANDS = [command for name in PAGES if name != REFERENCE for command in commands_of(name)]
OF_JOBS = [command for command in COMMANDS if JOB.match(command.text)]


def in_short(command):
    return f"{command.page}: {command.text}"[:90]


@pytest.mark.parametrize("command", OF_JOBS, ids=in_short)
def test_the_settings_of_a_printed_job_are_legal(command, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    found = JOB.match(command.text)
    arguments = [word for word in found["arguments"].split() if word != "--help"]
    _, settings_type = JOBS[found["job"]]
    if found["job"] in SUBJECTS:
        settings = parse(settings_type, arguments, SUBJECTS[found["job"]])
        assert not isinstance(settings, SummarizeSettings) or settings.compare or settings.network in models.names()
    elif arguments and arguments != ["CONF.yaml"]:
        workers = re.search(r"-np (\d+)", found["start"])
        for settings in parse_each(settings_type, arguments):
            if isinstance(settings, TrainSettings) and workers:
                assert settings.loader.lanes % int(workers[1]) == 0


@pytest.mark.parametrize("command", COMMANDS, ids=in_short)
def test_a_printed_command_is_run_by_a_test_or_says_what_it_needs(command):
    assert command.page == QUICKSTART or is_run(command.text) or NEEDS.search(command.around)


def is_run(command: str) -> bool:
    """Whether a test starts that job with that file, that benchmark, that target. tests/jobs/test_quickstart.py runs
    what its page prints."""
    if job := JOB.match(command):
        conf = next((word for word in command.split() if word.startswith("conf/")), "")
        return any(f"jobs/{job['job']}.py" in text and conf in text for text in TESTED)
    program, *words = command.split()
    if program == "make":
        return bool(BY_HAND.intersection(words)) or any(f"make {words[0]}" in text for text in TESTED)
    return program == "pytest" or (words[0] == "-m" and words[1] in BENCHMARKS)


BENCHMARKS = {f"benchmarks.{one.module}" for one in ALL.values() if one.short is not None}
"""tests/benchmarks/test_everything.py runs them."""

TESTED = [
    (REPOSITORY / name).read_text()
    for name in (QUICKSTART, ".ci/run", *map(str, (REPOSITORY / "tests").glob("*/**/*.py")))
]


@pytest.mark.parametrize("line", re.findall(r"^\t((?:spark|horovod).*)$", (REPOSITORY / "Makefile").read_text(), re.M))
def test_what_make_demo_runs_is_run_by_a_test(line):
    assert is_run(line)


def test_the_pages_have_commands_of_every_job():
    assert {JOB.match(command.text)["job"] for command in OF_JOBS} == set(JOBS)


# --- what is quoted, and what is generated --------------------------------------------------------

CODE = "".join(
    re.sub(r'"\s*\n\s*f?"', "", path.read_text())
    for folder in ("pipelines", "jobs", "setup")
    for path in [*(REPOSITORY / folder).rglob("*.py"), *(REPOSITORY / folder).glob("*.sh"), REPOSITORY / "Makefile"]
)
QUOTED = re.findall(r"^    (.*)$", (REPOSITORY / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("line", QUOTED)
def test_a_quoted_message_is_one_of_the_code(line):
    """But for what stands for …"""
    assert all(part in CODE for part in map(str.strip, line.split("…")))


def test_the_reference_of_settings_is_what_they_say():
    assert page() == PAGE.read_text(), "python -m pipelines.reference writes it anew"


def test_the_reference_has_every_job():
    assert set(JOBS) == {path.stem for path in (REPOSITORY / "jobs").glob("[a-z]*.py")}


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_from_outside_of_docs_lead_somewhere(name):
    """Those within are checked by `make check`."""
    links = re.findall(r"\]\(([^)#]+)", (REPOSITORY / name).read_text())
    assert all("://" in link or Path(REPOSITORY, link).exists() for link in links)
