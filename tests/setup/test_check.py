"""setup/check.sh on machines that lack something: a PATH of links stands for the machine."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

TOOLS = ("sh", "tr", "grep", "paste", "cat", "dirname", "tail", "id", "make", "c++")


@pytest.fixture
def machine(tmp_path):
    """A copy of setup/ and a folder of commands: all that the check needs, but no Python yet."""
    shutil.copytree(REPOSITORY / "setup", tmp_path / "clone" / "setup")
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
    return tmp_path


def python(machine, version):
    """A python3 that answers as that version would and has venv, ensurepip and headers."""
    path = machine / "bin" / "python3"
    major, minor = version.split(".")
    real = Path(sys.executable).resolve()
    path.write_text(
        f'#!/bin/sh\nexec "{real}" -I -c "import sys; v = sys.version_info; '
        f"sys.version_info = type('V', (tuple,), dict(major={major}, minor={minor}))(({major}, {minor}, 0)); "
        'exec(sys.argv[3])" "$@"\n'
    )
    path.chmod(0o755)


def check(machine, *arguments, **environment):
    clone = machine / "clone"
    return subprocess.run(
        ["sh", "setup/check.sh", *arguments],
        cwd=clone,
        env={"PATH": str(machine / "bin"), "HOME": str(machine)} | environment,
        text=True,
        capture_output=True,
        check=False,
    )


def test_everything_that_is_missing_is_named_at_once(machine):
    for tool in ("make", "c++"):
        (machine / "bin" / tool).unlink()
    result = check(machine)
    assert result.returncode == 1
    for what in ("make", "a C++17 compiler", "CPython 3.10 to 3.12"):
        assert what in result.stderr


def test_the_apt_line_has_what_is_missing_and_nothing_else(machine):
    python(machine, "3.11")
    (machine / "bin" / "c++").unlink()
    result = check(machine)
    assert result.returncode == 1
    assert "apt-get install -y g++\n" in result.stderr
    assert check(machine, "--apt").stdout == "g++\n"


@pytest.mark.parametrize("version", ["3.9", "3.13"])
def test_a_python_out_of_range_is_no_python(machine, version):
    python(machine, version)
    assert "CPython 3.10 to 3.12" in check(machine).stderr


def test_a_python_that_was_asked_for_is_named_if_it_does_not_fit(machine):
    python(machine, "3.13")
    assert "PYTHON=python3 is " in check(machine, PYTHON="python3").stderr


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12"])
def test_nothing_is_missing_where_all_is_there(machine, version):
    python(machine, version)
    result = check(machine, "--apt")
    assert (result.returncode, result.stdout.strip()) == (0, "")


def test_a_path_with_spaces_is_refused_before_anything_is_made(machine):
    python(machine, "3.11")
    shutil.move(machine / "clone", machine / "my clone")
    result = subprocess.run(
        ["sh", "setup/check.sh"],
        cwd=machine / "my clone",
        env={"PATH": str(machine / "bin")},
        text=True,
        capture_output=True,
        check=False,
    )
    assert "a path without spaces" in result.stderr
    assert [path.name for path in (machine / "my clone").iterdir()] == ["setup"]
