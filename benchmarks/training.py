"""Our training step beside a bare loop, our workers beside DistributedDataParallel's, real data beside synthetic.

    python -m benchmarks.training [--starts 5] [--rounds 3] [--turn 3] [--cores 2] [--parts step,workers,input]

Everything that is compared with each other is started at once, as commands of their own, warmed up, and then takes
turns of --turn seconds while the others are stopped (benchmarks/turns.py), so a busy machine slows all of them. After
so many rounds all are started anew: where a process happens to get its memory moves LeNet-5's step by a tenth. Ratios
are medians of all rounds' own ratios; processor time hardly depends on what else the machine does. Images are noise,
the weights of all sides start the same. The pictures of real data are made by benchmarks/pictures.py and stay under
--cache. Progress goes to stderr.
"""

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.loading_setup import FailedError
from benchmarks.machine import machine_line
from benchmarks.pictures import dataset_of_pictures
from benchmarks.steps import Task
from benchmarks.turns import Pace, Side, cpu_ratio, measured, ratio

TASKS = (Task("lenet5_modern", 32, 128), Task("resnet18", 64, 32))
_PICTURES, _PICTURE_SIDE = 8192, 96
_ABOUT = {
    "step": "One process on all cores, a batch in memory. The aim: our loop at least 0.98 times the bare one.",
    "workers": "Processes of one thread each. The aim: ours at least 1.00 times DistributedDataParallel.",
    "input": "One process on all cores, jobs/train.py's own network and loader. The aim: real at least 0.97 times "
    "synthetic.",
}


@dataclass(frozen=True)
class Asked:
    starts: int
    rounds: int
    turn_s: float
    warm_up: int
    cores: int
    parts: tuple[str, ...]
    cache: Path


def main() -> None:
    asked = _arguments()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: asked.cores])  # of all that is started from here
    _print_machine(asked)
    for part in asked.parts:
        print(f"\n{_ABOUT[part]}\n\n{_HEAD}")
        for task in TASKS if part != "input" else TASKS[-1:]:
            try:
                sides, paces = _paces(part, task, asked)
            except FailedError as error:
                print(f"\n{part}, {task.network}: {error}", flush=True)
                continue
            for side in sides:
                print(_row(task, side, paces[sides[0].name], paces[side.name]), flush=True)


def _paces(part: str, task: Task, asked: Asked) -> tuple[list[Side], dict[str, list[Pace]]]:
    """Of all starts. Raises FailedError."""
    paces: dict[str, list[Pace]] = {}
    for _ in range(asked.starts):
        with tempfile.TemporaryDirectory(prefix="strata-benchmark-") as folder:
            sides = _sides(part, task, asked, Path(folder))
            for name, found in measured(sides, asked.rounds, asked.turn_s, asked.warm_up).items():
                paces.setdefault(name, []).extend(found)
    return sides, paces


def _arguments() -> Asked:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training")
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3, help="of each start")
    parser.add_argument("--turn", type=float, default=3.0, metavar="S", help="seconds, of many steps")
    parser.add_argument("--warm-up", type=int, default=20, metavar="STEPS")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--parts", default=",".join(_ABOUT), help="some of them, with commas")
    parser.add_argument("--cache", type=Path, default=Path("work/benchmarks"))
    asked = parser.parse_args()
    parts = tuple(asked.parts.split(","))
    if unknown := set(parts) - set(_ABOUT):
        parser.error(f"no part {', '.join(sorted(unknown))}: there are {', '.join(_ABOUT)}")
    return Asked(asked.starts, asked.rounds, asked.turn, asked.warm_up, asked.cores, parts, asked.cache)


# --- who takes turns ----------------------------------------------------------------------------


def _sides(part: str, task: Task, asked: Asked, folder: Path) -> list[Side]:
    """The first is what the others are measured against. Raises FailedError."""
    if part == "step":
        return [
            worker("a bare PyTorch loop", "bare", task, asked.cores, folder),
            worker("our loop", "ours", task, asked.cores, folder),
            worker("our loop, logging to MLflow (SQLite)", "logged", task, asked.cores, folder),
        ]
    if part == "workers":
        return [
            worker("DistributedDataParallel, 2 processes (Gloo)", "ddp", task, 1, folder, TORCHRUN, 2),
            worker("ours, 2 processes (Horovod, Gloo)", "ours", task, 1, folder, HOROVODRUN, 2),
            worker("ours, 1 process", "ours", task, 1, folder / "one"),
        ]
    dataset = dataset_of_pictures(_PICTURES, _PICTURE_SIDE, asked.cache)
    return [
        worker("synthetic data", "synthetic", task, asked.cores, folder, extra=(dataset,)),
        worker(f"JPEG of {_PICTURE_SIDE} px, cropped and flipped", "real", task, asked.cores, folder, extra=(dataset,)),
    ]


HOROVODRUN = ("horovodrun", "--gloo-timeout-seconds", "3600", "-np")
"""Gloo's clock goes on while its process is stopped, and its own timeout is 30 s."""
TORCHRUN = ("torchrun", "--standalone", "--nproc-per-node")


def worker(
    name: str,
    kind: str,
    task: Task,
    threads: int,
    folder: Path,
    launcher: Sequence[str] = (),
    workers: int = 1,
    extra: tuple[object, ...] = (),
) -> Side:
    """A side of benchmarks/steps.py: `workers` processes that `launcher` starts, or one."""
    folder.mkdir(exist_ok=True)
    ticks = folder / kind
    module = ["-m", "benchmarks.steps"]
    start = [*launcher, workers] if launcher else [sys.executable]
    if launcher == HOROVODRUN:
        start.append(sys.executable)
    words = (*start, *module, kind, task.network, task.size, task.batch, threads, ticks, *extra)
    return Side(name, words, ticks, workers)


# --- the report ---------------------------------------------------------------------------------

_HEAD = (
    "| network | | images/s, median | times the first | rounds from to | CPU ms a step | times the first |\n"
    "|---|---|---:|---:|---:|---:|---:|"
)


def _print_machine(asked: Asked) -> None:
    print(
        f"{machine_line(asked.cores, 'torch')} {asked.starts} starts of {asked.rounds} rounds, turns of "
        f"{asked.turn_s:g} s."
    )


def _row(task: Task, side: Side, reference: Sequence[Pace], paces: Sequence[Pace]) -> str:
    rounds = [its.wall_s / mine.wall_s for its, mine in zip(reference, paces, strict=True)]
    images = task.batch * side.workers
    cells = [
        f"{task.network}, {task.size} px, {task.batch} a worker",
        side.name,
        f"{images / statistics.median(pace.wall_s for pace in paces):,.1f}",
        f"{ratio(reference, paces):.3f}",
        f"{min(rounds):.2f} to {max(rounds):.2f}",
        f"{1000 * statistics.median(pace.cpu_s for pace in paces):.2f}",
        f"{cpu_ratio(reference, paces):.3f}",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
