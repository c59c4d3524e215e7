"""What executors of a Spark cluster need and may lack: the packages that preprocessing imports there, in one archive.

Run by `make dist` with .venv's Python; `make dist WITH=torch` packs torch, too, which only scoring needs there. It
packs what is installed, so it needs no network, and executors get the very versions of the driver: a dataset's digest
depends on its encoders. Our own code is not in it, since a job ships that itself (pipelines/spark.py); nor
are Python and Spark, which every machine of a cluster has.
"""

import gzip
import sys
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
NAME = "strata-executors.tar.gz"
UNPACKED = "packages"
"""The folder that the archive becomes, beside every executor."""

IMPORTED = ("fsspec", "numpy", "opencv-python-headless", "pillow", "pyarrow", "pydantic", "simplejpeg", "xxhash")
"""By what runs on executors: pipelines.preprocess.write, and Petastorm's count of row groups."""

UNUSED = {"__pycache__", "include", "tests"}
"""Folders of these packages that nothing imports at work, a tenth of all."""

PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"


def with_requirements(names: Iterable[str]) -> list[Distribution]:
    """The installed packages of these names and all that they require, by name."""
    found: dict[str, Distribution] = {}
    waiting = list(names)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name not in found:
            found[name] = distribution(name)
            waiting += _required(found[name])
    return [found[name] for name in sorted(found)]


def _required(package: Distribution) -> Iterator[str]:
    for requirement in map(Requirement, package.requires or []):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement.name


def write_archive(archive: Path, packages: Sequence[Distribution]) -> None:
    """A tar.gz of the packages, as they lie in site-packages; the same bytes whenever the same is installed."""
    files = {str(file): file.locate() for package in packages for file in package.files or [] if _is_used(file.parts)}
    archive.parent.mkdir(parents=True, exist_ok=True)
    temporary = archive.with_name(f".{archive.name}.tmp")
    with (
        temporary.open("wb") as raw,
        # Level 1: a higher one saves a tenth of the size for three times the time.
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|") as tar,
    ):
        for name in sorted(files):
            tar.add(files[name], name, filter=_same_everywhere)
    temporary.replace(archive)


def _is_used(parts: Sequence[str]) -> bool:
    return parts[0] != ".." and UNUSED.isdisjoint(parts)  # ..: scripts in .venv/bin


def _same_everywhere(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.mtime = member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o755 if member.mode & 0o100 else 0o644
    return member


def submit_options(archive: Path | str) -> list[str]:
    """What spark-submit needs to have executors take their packages from the archive."""
    return [
        f"--archives={archive}#{UNPACKED}",
        f"--conf=spark.executorEnv.PYTHONPATH={UNPACKED}",
        f"--conf=spark.pyspark.python={PYTHON}",
    ]


def main(folder: Path, names: Iterable[str] = IMPORTED) -> None:
    packages = with_requirements(names)
    archive = folder / NAME
    write_archive(archive, packages)
    shown = archive.relative_to(ROOT) if archive.is_relative_to(ROOT) else archive
    command = ["spark-submit", "--master=spark://HOST:7077", *submit_options(shown), "jobs/preprocess.py CONF.yaml"]
    for package in packages:
        print(f"  {package.name} {package.version}")
    print(f"{shown}: {archive.stat().st_size / 1e6:.0f} MB, for executors that have {PYTHON} and Spark. To use it:\n")
    print("  " + " \\\n    ".join(command))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT / "dist", (*IMPORTED, *sys.argv[2:]))
