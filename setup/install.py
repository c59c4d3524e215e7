"""From a fresh clone to a working .venv, in four steps; a step is skipped while nothing that it depends on has changed.

Run by check.sh with the Python that .venv is made from, and with nothing but that Python's standard library.
"""

import fcntl
import hashlib
import inspect
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
PYPROJECT = ROOT / "pyproject.toml"
LOCK = ROOT / "requirements.lock"
CUDA_LOCK = ROOT / "requirements-cuda.lock"
HOROVOD = ROOT / "setup" / "build_horovod.py"
HOROVOD_CHANGES = sorted((ROOT / "setup").glob("horovod_*.*"))
SPARK_FILES = (ROOT / "setup" / "spark-env.sh", ROOT / "setup" / "log4j2.properties")

# Make's own flags would reach Horovod's make, and PYTHONPATH would put foreign packages before those of .venv.
NOT_INHERITED = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "PYTHONPATH", "PYTHONHOME")


class SetupError(Exception):
    """A step failed in a way that its message explains."""


def run(*command: str | Path, capture: bool = False) -> str:
    """Run a command as if .venv were activated. What it prints is shown; or returned, and shown only if it fails."""
    environment = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    environment["PATH"] = f"{VENV / 'bin'}{os.pathsep}{environment['PATH']}"
    environment.update(VIRTUAL_ENV=str(VENV), PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_NO_INPUT="1")
    process = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if capture else None,
        stderr=subprocess.STDOUT if capture else None,
        text=True,
        close_fds=False,  # hands the lock down, see there
        check=False,
    )
    output = process.stdout or ""
    if status := process.returncode:
        raise SetupError(f"{output}'{' '.join(map(str, command))}' failed with status {status}")
    return output


def pip(*arguments: str | Path) -> None:
    run(PYTHON, "-I", "-m", "pip", *arguments, "-qq")


def install_packages() -> None:
    """Start from an empty .venv: neither an interrupted installation nor an older lock leaves anything behind."""
    torch = re.search(r"^torch==\S+", CUDA_LOCK.read_text(), re.MULTILINE)
    assert torch, f"{CUDA_LOCK} pins no torch"
    run(sys.executable, "-I", "-m", "venv", "--clear", "--prompt", "strata", VENV)
    # --no-deps: the lock is complete, and Petastorm's metadata asks for setuptools<70 where torch asks for >=77.0.3.
    # Each file must be one that the lock knows by its hash.
    pip("install", "--no-deps", "--require-hashes", "-r", LOCK)
    # Without hashes, for torch may be a build of the user's choice. A CUDA build, and only that, brings its CUDA
    # libraries here: gigabytes that a CPU build does not need. All else that torch asks for is there already.
    pip("install", "-c", CUDA_LOCK, torch[0])


def install_horovod() -> None:
    run(PYTHON, "-I", "-u", HOROVOD)


def install_project() -> None:
    """Make `models` and `pipelines` importable from wherever Python is started."""
    # What an interrupted installation left, pip can neither use nor remove.
    for remains in site_packages().glob("strata-*.dist-info"):
        shutil.rmtree(remains)
    pip("install", "--no-deps", "--no-build-isolation", "-e", ROOT)


def configure_spark() -> None:
    """Give spark-submit its Java and its Python, and prove that it starts."""
    conf = site_packages() / "pyspark" / "conf"
    conf.mkdir(exist_ok=True)
    for file in SPARK_FILES:
        shutil.copy(file, conf)
    banner = run("spark-submit", "--version", capture=True)
    print("      Spark", ", ".join(re.findall(r"version [\d.]+$|Scala version .*", banner, re.MULTILINE)))
    if not re.search(r"VM, (1\.8|11|17)\b", banner):
        print("      Spark 3.5 does not support this Java. Unset JAVA_HOME, or set it to a Java 17.")


def site_packages() -> Path:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return VENV / "lib" / version / "site-packages"


def nvcc() -> str:
    """Where a CUDA compiler may be: Horovod is installed anew when this changes."""
    return f"{shutil.which('nvcc')} {os.environ.get('CUDA_HOME')} {Path('/usr/local/cuda/bin/nvcc').exists()}"


# Name, what to expect, what it does, what it depends on beside the steps before it.
STEPS: list[tuple[str, str, Callable[[], None], list[str | Path]]] = [
    ("packages", "about 2 minutes", install_packages, [str(VENV), sys.executable, LOCK, CUDA_LOCK]),
    ("horovod", "seconds; minutes the first time", install_horovod, [HOROVOD, *HOROVOD_CHANGES, nvcc()]),
    ("project", "seconds", install_project, [PYPROJECT]),
    ("spark", "seconds", configure_spark, [*SPARK_FILES]),
]


def set_up() -> None:
    digest = hashlib.sha256()
    for number, (name, expectation, action, inputs) in enumerate(STEPS, start=1):
        digest.update(inspect.getsource(action).encode())
        for item in inputs:
            digest.update(item.read_bytes() if isinstance(item, Path) else item.encode())
        stamp = VENV / f".{name}-done"
        if stamp.exists() and stamp.read_text() == digest.hexdigest():
            continue
        print(f"[{number}/{len(STEPS)}] {name} ({expectation})")
        started = time.monotonic()
        stamp.unlink(missing_ok=True)
        action()
        stamp.write_text(digest.hexdigest())
        print(f"      done in {time.monotonic() - started:.0f} s")


def lock() -> TextIO:
    """Keep a second set-up out, also while a child of a killed one still writes into .venv: it inherits the lock."""
    file = (ROOT / ".venv.lock").open("w")
    os.set_inheritable(file.fileno(), True)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("another set-up is at work in this folder; waiting for it to end")
        fcntl.flock(file, fcntl.LOCK_EX)
    return file


def main() -> int:
    held = lock()
    started = time.monotonic()
    try:
        set_up()
    except SetupError as error:
        print(f"setup: {error}. `make setup` goes on from here.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("setup: interrupted. `make setup` goes on from here.", file=sys.stderr)
        return 130
    (VENV / "ready").write_text(str(ROOT))
    print(f"set up in {time.monotonic() - started:.0f} s: Python {sys.version.split()[0]}, `. .venv/bin/activate`")
    held.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
