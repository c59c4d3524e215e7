"""What an attacker would send, made harmless, and what it costs whoever reads it."""

import io
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from zipfile import ZipFile

import torch

from tests.conftest import REPOSITORY

_MEASURE = """
import sys
{prepare}
def peak_kib():
    return int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0])
before = peak_kib()
for line in sys.stdin:
    print({expression}.replace("\\n", " "))
print(peak_kib() - before)
"""


class Hostile:
    """Creates a file when it is unpickled."""

    def __init__(self, trap: Path) -> None:
        self.trap = trap

    def __reduce__(self) -> tuple[object, ...]:
        return (self.trap.touch, ())


def answers_and_growth(prepare: str, expression: str, payloads: Sequence[bytes | str]) -> tuple[list[str], int]:
    """What the expression, a string made of `line`, gives for each payload, and by how many KiB memory grew meanwhile.

    prepare: Python that comes first. `line` is a payload, bytes in hexadecimal. All of it runs in a process of its own:
    peak memory of a process never goes down, and resource.getrusage begins with the peak of the process before.
    """
    lines = [payload.hex() if isinstance(payload, bytes) else payload for payload in payloads]
    code = _MEASURE.format(prepare=prepare, expression=expression)
    done = subprocess.run(
        [sys.executable, "-c", code], input="\n".join(lines), capture_output=True, text=True, cwd=REPOSITORY,
        check=True,
    )  # fmt: skip
    *answers, grown_kib = done.stdout.splitlines()
    return answers, int(grown_kib)


def members_of(content: bytes) -> dict[str, bytes]:
    """Of an archive of torch's, by their names without the folder they are in."""
    with ZipFile(io.BytesIO(content)) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def by_torch(members: Mapping[str, bytes]) -> bytes:
    """An archive as torch writes it."""
    file = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(file)
    for name, content in members.items():
        if not name.startswith(".data/") and name not in ("version", ".format_version"):
            writer.write_record(name, content, len(content))
    writer.write_end_of_file()
    return file.getvalue()
