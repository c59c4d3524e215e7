import re

import pytest
import yaml

from setup.audit import ACCEPTED, BUILT_HERE, LOCKS, problems
from tests.conftest import REPOSITORY

FINDING = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2"]}
FOUND = {"name": "some", "version": "1", "vulns": [FINDING]}
SKIPPED = {"name": "some", "version": "1", "skip_reason": "not found on PyPI"}


@pytest.mark.parametrize("name", ["PYSEC-1", "CVE-1"])
def test_a_finding_that_is_accepted_by_any_of_its_names_passes(name):
    assert problems([FOUND], {"some": {name: "a reason"}}) == []


def test_a_finding_that_nobody_accepted_is_told_with_the_version_that_mends_it():
    assert problems([FOUND], {"other": {}}) == ["some 1: CVE-1 PYSEC-1, mended in 2"]
    assert problems([FOUND | {"vulns": [FINDING | {"fix_versions": []}]}], {})[0].endswith("mended in no version")


def test_what_is_accepted_but_not_found_any_more_must_go():
    clean = {"name": "some", "version": "2", "vulns": []}
    assert problems([clean], {"some": {"CVE-1": "a reason"}}) == ["some: CVE-1 is accepted, but not found any more"]


def test_a_package_that_could_not_be_asked_about_is_not_taken_for_a_clean_one():
    clean = {"name": "other", "version": "2", "vulns": []}
    assert problems([SKIPPED, clean], {}) == ["some: not audited: not found on PyPI"]


def test_where_none_can_be_asked_about_one_line_says_so():
    (line,) = problems([SKIPPED, SKIPPED], {"some": {"CVE-1": "a reason"}})
    assert "none of 2 packages" in line


def test_every_accepted_finding_has_a_reason_and_a_package_that_is_installed():
    installed = BUILT_HERE + "".join(lock.read_text() for lock in LOCKS)
    for package, reasons in yaml.safe_load(ACCEPTED.read_text()).items():
        assert f"{package}==" in installed
        assert all(len(reason) > 40 for reason in reasons.values())


def test_all_that_is_installed_is_held_to_a_hash_but_what_may_be_of_the_users_choice():
    lock, others = (path.read_text() for path in LOCKS)
    pins = re.findall(r"^\w\S+==.*\\\n    --hash=sha256:[0-9a-f]{64}", lock, re.MULTILINE)
    assert len(pins) == len(re.findall(r"^\w", lock, re.MULTILINE)) > 150
    named = re.findall(r"^([\w-]+?)[-=]", others, re.MULTILINE)
    assert set(named) == {"cuda", "nvidia", "torch", "triton"}
    assert BUILT_HERE in (REPOSITORY / "pyproject.toml").read_text()
