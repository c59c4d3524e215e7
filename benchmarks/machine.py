"""What a benchmark's figures were measured on, in a line."""

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path


def machine_line(cores: int, *packages: str) -> str:
    """The date, the processor, how busy it is and the versions of Python and of these packages."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    versions = "".join(f", {name} {version(name).partition('+')[0]}" for name in packages)
    return (
        f"{time.strftime('%Y-%m-%d')}, {cores} of {len(models)} cores of {models[0].partition(': ')[2]}, load average "
        f"{os.getloadavg()[0]:.1f} before, Python {platform.python_version()}{versions}."
    )
