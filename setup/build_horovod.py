"""Compile Horovod from its source, install it and prove that it loads; the wheel is kept for the next set-up.

Run by install.py with .venv's Python, once torch is there, which Horovod is compiled against. With a CUDA build of
torch and a CUDA compiler, GPUs talk through NCCL; otherwise Horovod has Gloo alone, for tensors in host memory.
"""

import hashlib
import json
import os
import platform
import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
SITE_PACKAGES = Path(sysconfig.get_path("purelib"))

# Isolated, as install.py starts it, Python does not look for modules beside a script.
CHANGES: tuple[tuple[str, str, str], ...] = runpy.run_path(str(ROOT / "setup" / "horovod_changes.py"))["CHANGES"]
HEADERS = sorted((ROOT / "setup").glob("horovod_*.h"))
"""Put into horovod/common of its source."""

SOURCE_SHA256 = "92a43f5a94c43907a56805bad15f19700c62ffc83b7ca483f9e104e229f67ef0"
"""Of Horovod's source package, which the lock cannot have, since it is not installed as it is."""

OPTIONS = {
    "HOROVOD_WITH_PYTORCH": "1",
    "HOROVOD_WITHOUT_TENSORFLOW": "1",
    "HOROVOD_WITHOUT_MXNET": "1",
    "HOROVOD_WITH_GLOO": "1",
    "HOROVOD_WITHOUT_MPI": "1",
}
JOB_BYTES = 2 * 1024**3  # what compiling one file against torch's headers may take


def say(text: str) -> None:
    print(f"      {text}")


def horovod_version() -> str:
    pin = re.search(r'"horovod==([\w.]+)"', (ROOT / "pyproject.toml").read_text())
    assert pin, "pyproject.toml pins no horovod"
    return pin[1]


def cuda_home() -> Path | None:
    """The folder of a CUDA toolkit, compiler and headers, of the generation that torch was built with."""
    for candidate in (f"{os.environ.get('CUDA_HOME')}/bin/nvcc", shutil.which("nvcc"), "/usr/local/cuda/bin/nvcc"):
        home = Path(candidate or "/").resolve().parent.parent  # a wrapper in some other bin/ has no headers beside it
        nvcc = home / "bin" / "nvcc"
        if nvcc.exists() and (home / "include" / "cuda_runtime.h").exists():
            report = subprocess.run([nvcc, "--version"], stdout=subprocess.PIPE, text=True, check=False).stdout
            if f"release {str(torch.version.cuda).split('.')[0]}." in report:
                return home
    return None


def gpu_options() -> dict[str, str]:
    """Horovod's options for NCCL; none where it has to do without."""
    if torch.version.cuda is None:
        return {}
    if cuda_home() is None:
        say(f"torch has CUDA {torch.version.cuda}, but there is no nvcc of it: Horovod trains on the CPU, with Gloo.")
        say(f"For GPUs, put the nvcc of a CUDA {torch.version.cuda} toolkit on the PATH and run `make setup` again.")
        return {}
    gpus = {torch.cuda.get_device_capability(gpu) for gpu in range(torch.cuda.device_count())}
    return {
        "HOROVOD_BUILD_CUDA_CC_LIST": ",".join(f"{major}{minor}" for major, minor in sorted(gpus)) or "80,90",
        "HOROVOD_GPU_OPERATIONS": "NCCL",
        "HOROVOD_NCCL_LINK": "SHARED",
    }


def kept_folder(options: dict[str, str]) -> Path:
    """Where the wheel for these options and this machine is kept: named by what it was compiled for and against."""
    facts = {
        "options": options,
        "changes": [*CHANGES, *(header.read_text() for header in HEADERS)],
        "python": sysconfig.get_config_var("SOABI"),
        "machine": [platform.machine(), *platform.libc_ver()],
        "cuda": torch.version.cuda,
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "strata" / "wheels" / f"horovod-{horovod_version()}-torch-{torch.__version__}-{digest[:12]}"


def pip(*arguments: str | Path, environment: dict[str, str] | None = None) -> None:
    command = [sys.executable, "-I", "-m", "pip", *arguments, "-qq"]
    # close_fds: the lock of install.py is handed down.
    if subprocess.run(command, env={**os.environ, **(environment or {})}, close_fds=False, check=False).returncode:
        sys.exit("pip failed, for the reason above")


def changed_source(folder: Path) -> Path:
    requirement = f"horovod=={horovod_version()}"
    pip("download", "--no-deps", "--no-build-isolation", "--no-binary", "horovod", "--dest", folder, requirement)
    archive = next(folder.glob("horovod-*.tar.gz"))
    if (digest := hashlib.sha256(archive.read_bytes()).hexdigest()) != SOURCE_SHA256:
        sys.exit(f"{requirement}: its source has sha256 {digest}, and {SOURCE_SHA256} was expected; do not build it")
    shutil.unpack_archive(archive, folder)
    source = folder / f"horovod-{horovod_version()}"
    for name, old, new in CHANGES:
        text = (source / name).read_text()
        if text.count(old) != 1:
            sys.exit(f"{requirement}: {name} should say {old!r} once, to be made {new!r}. Is this another Horovod?")
        (source / name).write_text(text.replace(old, new))
    for header in HEADERS:
        shutil.copy(header, source / "horovod" / "common")
    return source


def build(options: dict[str, str], folder: Path) -> Path:
    environment = dict(options)
    operations = "Gloo"
    if "HOROVOD_GPU_OPERATIONS" in options:
        home = cuda_home()
        # The nvidia-nccl wheel has libnccl.so.2 alone, and the linker looks for libnccl.so.
        nccl = SITE_PACKAGES / "nvidia" / "nccl"
        (folder / "libnccl.so").symlink_to(nccl / "lib" / "libnccl.so.2")
        environment.update(HOROVOD_NCCL_INCLUDE=str(nccl / "include"), HOROVOD_NCCL_LIB=str(folder))
        environment.update(CUDA_HOME=str(home), HOROVOD_CUDA_HOME=str(home))
        environment["PATH"] = f"{home}/bin{os.pathsep}{os.environ['PATH']}"
        operations += f", and NCCL for compute capabilities {options['HOROVOD_BUILD_CUDA_CC_LIST']}"
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    jobs = max(1, min(len(os.sched_getaffinity(0)), memory // JOB_BYTES))
    environment["MAKEFLAGS"] = f"-j{jobs}"  # Horovod would take -j8
    say(f"compiling Horovod {horovod_version()} with {operations}; {jobs} files at a time")
    source = changed_source(folder)
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source, environment=environment)
    return next(folder.glob("horovod-*.whl"))


def install(wheel: Path) -> None:
    # What an interrupted installation left, pip can neither use nor remove.
    for remains in SITE_PACKAGES.glob("horovod*"):
        shutil.rmtree(remains)
    pip("install", "--no-deps", wheel)


def missing(options: dict[str, str]) -> list[str]:
    """What the installed Horovod should have but does not, by its own account."""
    wanted = ["PyTorch", "Gloo"] + ["NCCL"] * ("HOROVOD_GPU_OPERATIONS" in options)
    check = [str(Path(sys.executable).with_name("horovodrun")), "--check-build"]
    report = subprocess.run(check, stdout=subprocess.PIPE, text=True, check=False).stdout
    return [name for name in wanted if f"[X] {name}" not in report]


def keep(wheel: Path, folder: Path) -> None:
    """Copy, then rename: a wheel that is there is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f".{wheel.name}.{os.getpid()}"
    shutil.copy(wheel, unfinished)
    unfinished.replace(folder / wheel.name)


def main() -> None:
    options = OPTIONS | gpu_options()
    kept = kept_folder(options)
    for wheel in kept.glob("horovod-*.whl"):
        install(wheel)
        if not missing(options):
            say(f"taken from {kept}")
            return
        say(f"the wheel in {kept} does not load here, so it is built anew")
    for remains in Path(sys.prefix).glob("horovod-*"):  # of a build that was killed
        shutil.rmtree(remains)
    with tempfile.TemporaryDirectory(prefix="horovod-", dir=sys.prefix) as folder:
        wheel = build(options, Path(folder))
        install(wheel)
        if lacks := missing(options):
            sys.exit(f"Horovod was built, but `horovodrun --check-build` does not show: {', '.join(lacks)}")
        keep(wheel, kept)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
