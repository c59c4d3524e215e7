"""Where a run comes from: code, versions and kinds of hosts, as tags that tell runs apart."""

import os
import platform
import subprocess
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import BaseModel

REPOSITORY = Path(__file__).resolve().parents[2]


class Host(BaseModel):
    """A machine that workers run on."""

    name: str
    processor: str
    cores: int
    gpus: list[str] = []

    @classmethod
    def this(cls, gpus: Sequence[str] = ()) -> "Host":
        return cls(name=platform.node(), processor=_processor(), cores=len(os.sched_getaffinity(0)), gpus=list(gpus))

    @property
    def kind(self) -> str:
        """`AMD EPYC 7B13, 96 cores, 8 x NVIDIA H100`."""
        gpus = [f"{count} x {name}" for name, count in Counter(self.gpus).items()]
        return ", ".join([self.processor, f"{self.cores} cores", *gpus])


def origin_tags(hosts: Sequence[Host], workers: int) -> dict[str, str]:
    """Of a run of so many workers on these hosts."""
    kinds = Counter(host.kind for host in hosts)
    tags = {
        "strata.workers": str(workers),
        "strata.hosts": "; ".join(f"{count} x ({kind})" for kind, count in sorted(kinds.items())),
        "strata.version": _version(),
    }
    return tags | _commit(REPOSITORY)


def _commit(folder: Path) -> dict[str, str]:
    """Of the code, and whether it was changed since; nothing where it is no clone, or there is no git."""
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return {}
    changed = bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))
    # The first of these is MLflow's own: its dashboard shows it as the run's version.
    return {"mlflow.source.git.commit": commit, "strata.git_changed": str(changed).lower()}


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _version() -> str:
    try:
        return version("strata")
    except PackageNotFoundError:  # its folder is on the path, but it is not installed
        return "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
