"""The lock against the advisories that PyPI knows: `make audit`.

pip-audit, in an environment of its own, asks for them. Each finding must be accepted in audit.yaml, with a reason, and
each that is accepted must still be found: what was mended meanwhile is to be taken out there.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
ACCEPTED = ROOT / "setup" / "audit.yaml"
LOCKS = (ROOT / "requirements.lock", ROOT / "requirements-cuda.lock")
TOOL = ("uv", "tool", "run", "--from", "pip-audit==2.10.1", "pip-audit")
BUILT_HERE = "horovod==0.28.1"
"""Not in the locks: setup/build_horovod.py compiles it."""


def found_by_pip_audit(locks: Sequence[Path]) -> list[dict[str, Any]]:
    """Packages as pip-audit tells of them; SystemExit with its own words if it cannot."""
    pins = [line.rstrip("\\ ") for lock in locks for line in lock.read_text().splitlines() if line[:1].isalnum()]
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder, "requirements.txt")
        asked.write_text("\n".join([*pins, BUILT_HERE]) + "\n")
        command = [*TOOL, "-r", str(asked), "--no-deps", "--disable-pip", "--format=json", "--progress-spinner=off"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        sys.exit(f"audit: pip-audit gave no answer:\n{done.stderr.strip()}")
    return found


def problems(packages: Sequence[Mapping[str, Any]], accepted: Mapping[str, Mapping[str, str]]) -> list[str]:
    """What speaks against these packages, a line each.

    accepted: package -> advisory, by any of its names -> reason.
    """
    if all("skip_reason" in package for package in packages):
        return [f"none of {len(packages)} packages could be looked up: is PyPI itself, not a mirror of it, in reach?"]
    lines, used = [], set()
    for package in packages:
        name = package["name"]
        if "skip_reason" in package:
            lines.append(f"{name}: not audited: {package['skip_reason']}")
        for finding in package.get("vulns", []):
            ids = {finding["id"], *finding.get("aliases", [])}
            if known := ids & accepted.get(name, {}).keys():
                used |= {(name, one) for one in known}
            else:
                fixed = ", ".join(finding.get("fix_versions", [])) or "no version"
                lines.append(f"{name} {package['version']}: {' '.join(sorted(ids))}, mended in {fixed}")
    for name, reasons in accepted.items():
        lines += [f"{name}: {one} is accepted, but not found any more" for one in reasons if (name, one) not in used]
    return lines


def main() -> None:
    accepted = yaml.safe_load(ACCEPTED.read_text())
    packages = found_by_pip_audit(LOCKS)
    lines = problems(packages, accepted)
    print("\n".join(lines) or f"{len(packages)} packages, no finding but the accepted ones of {ACCEPTED.name}")
    sys.exit(1 if lines else 0)


if __name__ == "__main__":
    main()
