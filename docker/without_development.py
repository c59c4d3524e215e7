"""Remove from .venv what neither the jobs nor anything that they import needs: the tools of tests, lint and compiling.

Run in the build of the images, after the set-up, with .venv's Python.
"""

import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from setup.dist import with_requirements  # noqa: E402 - setup/ is no installed package


def development_packages() -> list[str]:
    """Names of what is installed beside the project's own requirements."""
    needed = {canonicalize_name(package.name) for package in with_requirements(["strata"])} | {"pip"}
    return sorted({canonicalize_name(package.name) for package in distributions()} - needed)


if __name__ == "__main__":
    names = development_packages()
    subprocess.run([sys.executable, "-I", "-m", "pip", "uninstall", "-q", "-y", *names], check=True)
    print(f"removed {', '.join(names)}")
