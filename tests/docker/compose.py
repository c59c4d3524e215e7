"""docker/compose.yaml and docker/Dockerfile as these tests read them: what a service runs, and with which variables."""

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import REPOSITORY

COMPOSE, DOCKERFILE = REPOSITORY / "docker" / "compose.yaml", REPOSITORY / "docker" / "Dockerfile"
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def new_secrets() -> dict[str, str]:
    """What docker/secrets.sh prints for docker/.env."""
    printed = subprocess.run(
        ["sh", REPOSITORY / "docker" / "secrets.sh"], text=True, capture_output=True, check=True
    ).stdout
    return dict(line.split("=") for line in printed.splitlines() if not line.startswith("#"))


def interpolated(text: str, variables: dict[str, str]) -> str:
    """As compose does it: `${NAME:-default}`, and `${NAME:?message}`: an error while NAME is unset or empty."""

    def value(match: re.Match[str]) -> str:
        name, operator, word = match.groups()
        found = variables.get(name, "")
        if not found and operator == "?":
            raise ValueError(f"{name} {word}")
        return found or (word if operator == "-" else "")

    return VARIABLE.sub(value, text)


@dataclass(frozen=True)
class Stage:
    """Of a Dockerfile, with what it takes over from the stage that it is built on."""

    base: str
    environment: dict[str, str]
    words: dict[str, list[str]]
    """ENTRYPOINT and CMD."""
    user: str


def stages() -> dict[str, Stage]:
    found: dict[str, Stage] = {}
    name = ""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", "")
    for line in text.splitlines():
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            base, _, name = rest.replace("${DEVICE}", "cpu").partition(" AS ")
            under = found.get(base)
            found[name] = Stage(
                under.base if under else base,
                dict(under.environment) if under else {},
                dict(under.words) if under else {},
                under.user if under else "",
            )
        elif instruction == "ENV":
            found[name].environment.update(dict(pair.split("=", 1) for pair in rest.split()))
        elif instruction in ("ENTRYPOINT", "CMD"):
            found[name].words[instruction] = json.loads(rest)
        elif instruction == "USER":
            found[name] = Stage(found[name].base, found[name].environment, found[name].words, rest)
    return found


@dataclass(frozen=True)
class Service:
    command: list[str]
    environment: dict[str, str]
    healthcheck: list[str]


def services(variables: dict[str, str], places: dict[str, Path]) -> dict[str, Service]:
    """Of compose.yaml, as processes of this machine. places: what stands for folders of the images."""
    read = yaml.safe_load(interpolated(COMPOSE.read_text(), variables))
    return {name: _service(entry, stages(), places) for name, entry in read["services"].items()}


def _service(entry: dict[str, Any], images: dict[str, Stage], places: dict[str, Path]) -> Service:
    def here(text: object) -> str:
        found = str(text)
        for folder, place in places.items():
            found = re.sub(rf"(?<![\w.]){folder}(?=/|$)", str(place), found)
        return found

    image = images.get(entry.get("build", {}).get("target", ""))
    entrypoint = image.words.get("ENTRYPOINT", []) if image else []
    command = entry.get("command") or (image.words.get("CMD", []) if image else [])
    of_image = {name: value for name, value in image.environment.items() if name != "PATH"} if image else {}
    check = entry.get("healthcheck", {}).get("test", ["CMD"])[1:]
    return Service(
        [here(word) for word in [*entrypoint, *command]],
        {name: here(value) for name, value in (of_image | entry.get("environment", {})).items()},
        [here(word) for word in check],
    )
