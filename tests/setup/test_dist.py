"""setup/dist.py on what is installed, and on a package made for the test."""

import os
import subprocess
import sys
import tarfile
from importlib.metadata import Distribution

import pytest

from setup.dist import IMPORTED, main, submit_options, with_requirements, write_archive
from tests.conftest import REPOSITORY

FILES = ("some/__init__.py", "some/__pycache__/a.pyc", "some/tests/test_a.py", "some/include/a.h", "../bin/some")
ON_EXECUTORS = """
import sys
from importlib.metadata import packages_distributions

packed = {*sys.argv[1:], "strata", "pyspark", "py4j"}  # Spark is on every machine
for module, packages in packages_distributions().items():
    if packed.isdisjoint(packages):
        sys.modules[module] = None  # importing it is an error now
"""


@pytest.fixture
def package(tmp_path):
    """An installed package of FILES, in a folder of its own."""
    site = tmp_path / "site"
    for name in ("some-1.dist-info/METADATA", *FILES):
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text("")
    (site / "some-1.dist-info" / "RECORD").write_text("".join(f"{name},,\n" for name in FILES))
    return Distribution.at(site / "some-1.dist-info")


def test_packages_come_with_what_they_require_but_not_with_extras():
    names = [package.name for package in with_requirements(["pydantic"])]
    assert names == ["annotated-types", "pydantic", "pydantic_core", "typing_extensions", "typing-inspection"]


@pytest.mark.parametrize(
    ("more", "modules"),
    [((), "pipelines.preprocess.sources, pipelines.preprocess.write"), (("torch",), "pipelines.scoring.files")],
)
def test_what_executors_import_is_in_the_archive(more, modules):
    names = [package.name for package in with_requirements((*IMPORTED, *more))]
    result = subprocess.run(
        [sys.executable, "-c", f"{ON_EXECUTORS}import fsspec.implementations.arrow, {modules}", *names],
        cwd=REPOSITORY,
        text=True,
        capture_output=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_scripts_caches_headers_and_tests_of_a_package_are_left_out(tmp_path, package):
    write_archive(tmp_path / "a.tar.gz", [package])
    with tarfile.open(tmp_path / "a.tar.gz") as tar:
        assert tar.getnames() == ["some/__init__.py"]


def test_an_archive_is_the_same_whenever_and_by_whomever_it_is_made(tmp_path, package):
    write_archive(tmp_path / "first.tar.gz", [package])
    source = package.locate_file("some/__init__.py")
    os.utime(source, (0, 1e9))
    source.chmod(0o600)
    write_archive(tmp_path / "second.tar.gz", [package])
    assert (tmp_path / "first.tar.gz").read_bytes() == (tmp_path / "second.tar.gz").read_bytes()
    with tarfile.open(tmp_path / "first.tar.gz") as tar:
        assert [(member.uid, member.gid, member.uname) for member in tar] == [(0, 0, "")]


def test_an_archive_that_cannot_be_made_whole_does_not_replace_a_former_one(tmp_path, package):
    (tmp_path / "dist").mkdir()
    archive = tmp_path / "dist" / "a.tar.gz"
    archive.write_text("of a former call")
    package.locate_file("some/__init__.py").unlink()
    with pytest.raises(FileNotFoundError):
        write_archive(archive, [package])
    assert archive.read_text() == "of a former call"


def test_the_command_that_uses_the_archive_is_shown(tmp_path, capsys):
    main(tmp_path, ["annotated-types"])
    printed = capsys.readouterr().out
    for option in submit_options(tmp_path / "strata-executors.tar.gz"):
        assert option in printed
