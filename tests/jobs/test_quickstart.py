"""docs/quickstart.md, from its first job to its last, as a newcomer types it; trainings are cut short."""

import shlex

import pytest

from tests.conftest import REPOSITORY
from tests.jobs.commands import call
from tests.test_docs import JOB, QUICKSTART, commands_of

pytestmark = pytest.mark.processes


def test_its_commands_work_one_after_another(tmp_path):
    for name in ("jobs", "conf", "pipelines", "models"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    for command in commands_of(QUICKSTART):
        if JOB.match(command.text):
            short = ["epochs=2"] if "jobs/train.py" in command.text else []
            printed = call(*shlex.split(command.text), *short, folder=tmp_path)
            assert printed.strip()
    assert (tmp_path / "work" / "mlflow.db").exists()
    assert len(list(tmp_path.glob("work/runs/lenet5_modern-digits-seed*"))) == 2
    assert any(tmp_path.glob("work/pictures/*/*.png"))
