"""docker/Dockerfile without an engine: lint, pins, users, and what gets into the images."""

import re
import shutil
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from tests.docker.compose import DOCKERFILE, stages

IMAGES = ("spark", "training", "mlflow", "store")


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", "")
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in text.splitlines()) if word]


@pytest.mark.skipif(not shutil.which("hadolint"), reason="needs hadolint, which PyPI has for Linux on x86-64")
def test_hadolint_finds_nothing():
    found = subprocess.run(["hadolint", DOCKERFILE], text=True, capture_output=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def test_bases_have_the_exact_tag_of_a_release():
    own = {name for word, rest in instructions() if word == "FROM" for name in rest.split(" AS ")[1:]}
    bases = {rest.split(" AS ")[0].replace("${DEVICE}", "cpu") for word, rest in instructions() if word == "FROM"}
    for base in bases - own:
        tag = base.partition(":")[2]
        assert re.search(r"\d+\.\d+|\d{4}-\d\d-\d\d", tag), base


@pytest.mark.parametrize("image", IMAGES)
def test_images_run_as_a_user_that_is_not_root_and_say_whether_they_are_well(image):
    assert stages()[image].user == "10001:10001"
    text = DOCKERFILE.read_text()
    stage = re.split(rf"^FROM .* AS {image}$", text, flags=re.MULTILINE)[1].partition("\nFROM ")[0]
    assert "HEALTHCHECK" in stage


def test_the_compiler_stays_behind():
    """What is run on is not what is built on, and takes over folders alone."""
    text = DOCKERFILE.read_text()
    assert "AS run-cuda" in text.partition("-base-")[2]
    for stage in ("run", "spark", "training", "mlflow"):
        body = re.split(rf"^FROM .* AS {stage}$", text, flags=re.MULTILINE)[1].partition("\nFROM ")[0]
        assert not re.search(r"g\+\+|gcc|build-essential|python3-dev|check\.sh --apt", body), stage


def test_mlflow_is_installed_from_the_lock():
    """By uv: a lock with hashes as its constraints makes pip refuse every package that it was not told to install."""
    (line,) = [rest for word, rest in instructions() if word == "RUN" and "/opt/requirements.lock" in rest]
    locked = REPOSITORY / "requirements.lock"
    names = re.search(r"/uv pip install .* -c /opt/requirements.lock (.*?) *&&", line)[1].split()
    assert names
    for name in names:
        assert re.search(rf"^{name}==", locked.read_text(), re.MULTILINE), name
    installer = re.search(r"sed -n '(.*?)' /opt/requirements.lock", line)[1]
    pinned = subprocess.run(["sed", "-n", installer, locked], text=True, capture_output=True, check=True).stdout
    assert re.fullmatch(r"uv==\S+( \\\n +--hash=sha256:\w+)+\n", pinned)
    dry_run = ["uv", "pip", "install", "--dry-run", "--python", sys.executable, "-c", locked, *names]
    tried = subprocess.run(dry_run, text=True, capture_output=True, check=False)
    assert tried.returncode == 0, tried.stderr


def test_what_the_images_copy_is_there_and_is_let_in():
    ignored = (REPOSITORY / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
    assert "*" in ignored
    for pattern in ignored:
        if pattern.startswith("!"):
            assert list(REPOSITORY.glob(pattern[1:])), pattern
    for word, rest in instructions():
        if word == "COPY" and "--from" not in rest:
            for source in rest.split()[:-1]:
                assert (REPOSITORY / source).exists(), source


def test_no_password_gets_into_an_image():
    for word, rest in instructions():
        assert not (word in ("ENV", "ARG") and re.search(r"PASSWORD|SECRET|TOKEN|_KEY=", rest)), rest
