"""The commands that the README prints can be typed as they stand."""

import re

import pytest

import models
from pipelines.command_line import parse
from pipelines.config import ReportSettings, SummarizeSettings, TrainSettings
from tests.conftest import REPOSITORY
from tests.pipelines.test_command_line import TYPES

README = (REPOSITORY / "README.md").read_text()
COMMANDS = re.findall(r"^    (?:spark-submit|horovodrun|python).* jobs/(\w+)\.py (conf/.*)$", README, re.MULTILINE)


@pytest.mark.parametrize(("job", "arguments"), COMMANDS)
def test_its_settings_are_legal(job, arguments, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    parse(TYPES[job], arguments.split())


@pytest.mark.parametrize(
    ("workers", "conf"), re.findall(r"horovodrun -np (\d+) .*jobs/train\.py (conf/\S+)", README), ids=str
)
def test_its_workers_can_share_the_lanes(workers, conf):
    lanes = parse(TrainSettings, [str(REPOSITORY / conf)]).loader.lanes
    assert lanes % int(workers) == 0


SUMMARIES = re.findall(r"^    python jobs/summarize\.py (.*)$", README, re.MULTILINE)


@pytest.mark.parametrize("arguments", SUMMARIES)
def test_its_summaries_are_of_legal_settings(arguments):
    settings = parse(SummarizeSettings, arguments.split(), subject="network")
    assert settings.compare or settings.network in models.names()


def test_its_page_is_of_a_legal_study():
    (arguments,) = re.findall(r"^    python jobs/report\.py (.*)$", README, re.MULTILINE)
    assert parse(ReportSettings, arguments.split(), subject="study").study == "digits"


def test_there_are_commands_for_preprocessing_and_training():
    assert {job for job, _ in COMMANDS} >= {"preprocess", "train"}
    assert len(SUMMARIES) == 2
