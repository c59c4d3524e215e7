"""All benchmarks, one after another, into one file: `make bench`, or `make bench BENCH=short`.

    python -m benchmarks.everything [FOLDER] [--short] [--only plan,loading,…] [--work work/benchmarks]

FOLDER holds real JPEG files, ImageNet's for figures to be quoted; without it pictures are made that nobody took. One
that fails is named, and the next one goes on. `--short` takes the smallest sizes there are: it shows that all of them
still run, and its figures say nothing. WORK/bench.md, or WORK/bench-short.md, has a table of all and then what each
printed.
"""

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmarks.loading_setup import REPOSITORY
from benchmarks.pictures import write_pictures

PICTURES, SIDE, FEW = 400, 400, 24
"""Made where no FOLDER is given: as many as docs/results.md was measured with, about ImageNet's size; in short, FEW."""


@dataclass(frozen=True)
class Benchmark:
    """A module of benchmarks/ and its arguments; of these stand ORIGINALS for the folder of JPEG, WORK for its own."""

    module: str
    full: str = ""
    short: str | None = ""
    """None: it cannot be short, for the reason in `why`."""
    why: str = ""

    def arguments(self, is_short: bool, originals: Path, work: Path) -> list[str]:
        asked = (self.short or "") if is_short else self.full
        return [
            str({"ORIGINALS": originals, "WORK": work}.get(word, word)).replace("WORK/", f"{work}/")
            for word in asked.split()
        ]


ALL = {
    "plan": Benchmark("plan"),
    "preprocess": Benchmark("preprocess", "ORIGINALS --images 8000", "ORIGINALS --images 48 --rounds 1"),
    "preprocess_memory": Benchmark(
        "preprocess",
        "ORIGINALS --rounds 0 --memory 1000,50000 --listing 1280000",
        "ORIGINALS --rounds 0 --listing 2000",
    ),
    "loading": Benchmark(
        "loading",
        "ORIGINALS --resume --memory 20",
        "ORIGINALS --images 160 --batch 16 --rounds 1 --peers petastorm --cache WORK/cache",
    ),
    "scoring": Benchmark("scoring", "ORIGINALS --images 2048", "ORIGINALS --images 16 --rounds 1 --batch 4 --cores 1"),
    "ensemble": Benchmark("ensemble", "--work WORK", "--work WORK --sizes 3x40 --classes 10"),
    "models": Benchmark("models", short=None, why="it installs torchvision in an environment of its own"),
    "training": Benchmark("training", short="--starts 1 --rounds 1 --turn 0.2 --warm-up 1 --parts step --cores 1"),
    "scaling": Benchmark("scaling"),
    "scaling_measured": Benchmark("scaling", "--measure 1,2", "--measure 1,2 --rounds 1 --turn 0.2"),
    "tracking": Benchmark(
        "tracking",
        "WORK",
        short=None,
        why="its trainings take 20 s each by the clock; tests/pipelines/tracking/test_sender.py has its faults",
    ),
    "faults_static": Benchmark(
        "faults",
        "static --faults 5 --hangs 5 --epochs 8 --dataset WORK/digits --work WORK/runs",
        "static --faults 1 --hangs 0 --epochs 2 --only rank --dataset WORK/digits --work WORK/runs",
    ),
    "faults_elastic": Benchmark(
        "faults",
        "elastic --faults 2 --epochs 16 --dataset WORK/digits --work WORK/runs",
        short=None,
        why="its faults take minutes each; tests/jobs/test_faults.py has one",
    ),
    "gpu": Benchmark("gpu", short="--device cpu --smoke --cache WORK/cache"),
}


class Done(NamedTuple):
    name: str
    command: str
    seconds: float
    outcome: str
    printed: str

    @property
    def line(self) -> str:
        return f"| {self.name} | `{self.command}` | {self.seconds:,.0f} | {self.outcome} |"


def run(name: str, is_short: bool, originals: Path, work: Path) -> Done:
    """One benchmark, to its end, whatever that is. Its progress, on stderr, is passed on."""
    benchmark = ALL[name]
    work = work / name
    arguments = benchmark.arguments(is_short, originals, work)
    command = ["python", "-m", f"benchmarks.{benchmark.module}", *arguments]
    shown = " ".join(command).replace(f"{originals}", "FOLDER").replace(f"{work}", "WORK")
    if is_short and benchmark.short is None:
        return Done(name, shown, 0, f"left out: {benchmark.why}", "")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    if benchmark.module == "faults":
        _make_digits(work / "digits")
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, *command[1:]], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=False
    )
    outcome = f"FAILED with status {done.returncode}" if done.returncode else "done"
    return Done(name, shown, time.monotonic() - started, outcome, done.stdout.strip())


def _make_digits(place: Path) -> None:
    command = ["spark-submit", "jobs/preprocess.py", "conf/preprocess/digits.yaml", f"output.path={place}"]
    subprocess.run(command, cwd=REPOSITORY, stdout=sys.stderr, check=True)


def report(done: Sequence[Done]) -> str:
    """The table, then what each printed."""
    lines = ["# Benchmarks", "", "| benchmark | command | seconds | outcome |", "|---|---|---:|---|"]
    lines += [one.line for one in done]
    for one in done:
        if one.printed:
            lines += ["", f"## {one.name}", "", one.printed]
    return "\n".join(lines) + "\n"


def main() -> int:
    asked = _arguments()
    originals = asked.originals or asked.work / ("pictures-short" if asked.short else "pictures")
    if not originals.exists():
        write_pictures(originals, FEW if asked.short else PICTURES, SIDE)
    place = asked.work / ("bench-short.md" if asked.short else "bench.md")
    done: list[Done] = []
    for number, name in enumerate(asked.only, start=1):
        print(f"[{number}/{len(asked.only)}] {name}", file=sys.stderr, flush=True)
        done.append(run(name, asked.short, originals.absolute(), asked.work.absolute()))
        print(done[-1].line, flush=True)
        place.write_text(report(done))
    failed = [one.name for one in done if one.outcome.startswith("FAILED")]
    print(f"\nwritten: {place}" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("originals", type=Path, nargs="?", metavar="FOLDER", help="real JPEG files, in any tree")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--only", type=lambda names: names.split(","), default=list(ALL), metavar="A,B")
    parser.add_argument("--work", type=Path, default=Path("work/benchmarks"))
    asked = parser.parse_args()
    if unknown := set(asked.only) - set(ALL):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}: there are {', '.join(ALL)}")
    if asked.originals and not asked.originals.is_dir():
        parser.error(f"{asked.originals}: no such folder")
    asked.work.mkdir(parents=True, exist_ok=True)
    return asked


if __name__ == "__main__":
    sys.exit(main())
