"""Commands that take steps for ever, measured by turns: while one runs, the others are stopped by a signal.

So all of them meet the same machine, however busy it is, and none is disturbed by the threads of another, as it would
be within one process. A command tells its steps by `Ticking`: each worker appends a tick to a file of its own.
"""

import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.loading_setup import REPOSITORY, FailedError
from pipelines.training.loop import LabelledImages, TrainLoader

_TICK = struct.Struct("dd")
_START_S = 300.0
_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**32)}
"""glibc's malloc keeps what is freed. Left to itself it gives memory back and faults it in again, more or less often
from one start of the same command to the next: LeNet-5's step differs by a quarter."""
_TURN_TICKS = 4
"""At least, on a machine so busy that there are fewer in a turn's time."""


@dataclass(frozen=True)
class Ticking:
    """The same batches; appends when each was given, and this process's processor time until then, to a file."""

    source: TrainLoader
    file: Path

    @property
    def steps_per_epoch(self) -> int:
        return self.source.steps_per_epoch

    def epochs(self, epochs: range, start_step: int = 0) -> Generator[LabelledImages, None, None]:
        with closing(self.source.epochs(epochs, start_step)) as batches, self.file.open("wb", buffering=0) as ticks:
            for batch in batches:
                ticks.write(_TICK.pack(time.monotonic(), time.process_time()))
                yield batch


@dataclass(frozen=True)
class Side:
    """What takes a turn."""

    name: str
    command: tuple[object, ...]
    ticks: Path
    """Without the worker's number, which comes after a dot."""
    workers: int = 1


class Pace(NamedTuple):
    """Of one turn, a step."""

    wall_s: float
    cpu_s: float
    """Of all workers together."""


def measured(sides: Sequence[Side], rounds: int, turn_s: float, warm_up_steps: int) -> dict[str, list[Pace]]:
    """Each side's pace in each round, in which every side has its turn; sides that come first in one come last in the
    next. Raises FailedError if a side ends, or does not get on."""
    turns: dict[str, list[tuple[float, float]]] = {side.name: [] for side in sides}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))  # for stopped sides must not outlive this
    with ExitStack() as stack:
        running = [stack.enter_context(_started(side, warm_up_steps)) for side in sides]
        for number in range(rounds):
            for one in running[:: 1 if number % 2 == 0 else -1]:
                turns[one.side.name].append(one.turn(turn_s))
    return {side.name: [pace(_ticks(side), start, end) for start, end in turns[side.name]] for side in sides}


def pace(ticks: Sequence[NDArray[np.float64]], start: float, end: float) -> Pace:
    """Of the whole steps between two moments. ticks: of each worker, rows (moment, processor time), in order."""
    walls, cpus = [], []
    for worker in ticks:
        inside = worker[(worker[:, 0] >= start) & (worker[:, 0] <= end)]
        assert len(inside) > 1, "a turn waits for more ticks"
        wall_s, cpu_s = (inside[-1] - inside[0]) / (len(inside) - 1)
        walls.append(wall_s)
        cpus.append(cpu_s)
    return Pace(float(np.mean(walls)), float(np.sum(cpus)))


def ratio(reference: Sequence[Pace], paces: Sequence[Pace]) -> float:
    """How many steps a side takes while the reference takes one; the median of the rounds' own ratios."""
    return median(its.wall_s / mine.wall_s for its, mine in zip(reference, paces, strict=True))


def cpu_ratio(reference: Sequence[Pace], paces: Sequence[Pace]) -> float:
    """Processor time of a side's step over that of the reference's; the median of the rounds' own ratios."""
    return median(mine.cpu_s / its.cpu_s for its, mine in zip(reference, paces, strict=True))


def _ticks(side: Side) -> list[NDArray[np.float64]]:
    files = [side.ticks.with_name(f"{side.ticks.name}.{rank}") for rank in range(side.workers)]
    return [np.fromfile(file).reshape(-1, 2) if file.exists() else np.zeros((0, 2)) for file in files]


class _Running:
    def __init__(self, side: Side, process: subprocess.Popen[bytes], log: Path) -> None:
        self.side, self._process, self._log = side, process, log

    def turn(self, seconds: float) -> tuple[float, float]:
        """Its start and end."""
        ticks = self._ticked()
        for process in self._tree():
            process.resume()
        start = time.monotonic()
        time.sleep(seconds)
        self.wait_for(ticks + _TURN_TICKS)
        end = time.monotonic()
        self.pause()
        return start, end

    def pause(self) -> None:
        for process in self._tree():
            process.suspend()

    def wait_for(self, ticks: int) -> None:
        """Until every worker has so many. Raises FailedError if it takes minutes, or the side has ended."""
        until = time.monotonic() + _START_S
        while True:
            self._check()
            if self._ticked() >= ticks:
                return
            if time.monotonic() > until:
                raise FailedError(f"{self.side.name}: no {ticks} steps in {_START_S:.0f} s")
            time.sleep(0.1)

    def _ticked(self) -> int:
        return min(map(len, _ticks(self.side)))

    def kill(self) -> None:
        for process in self._tree():
            process.kill()
        self._process.wait()

    def _tree(self) -> list[psutil.Process]:
        if self._process.poll() is not None:
            return []
        launcher = psutil.Process(self._process.pid)
        return [launcher, *launcher.children(recursive=True)]

    def _check(self) -> None:
        if self._process.poll() is not None:
            raise FailedError(f"{self.side.name} ended: {' '.join(self._log.read_text().splitlines()[-3:])}")


@contextmanager
def _started(side: Side, warm_up_steps: int) -> Iterator[_Running]:
    """Warmed up, and stopped until its first turn."""
    print(f"starting {side.name}", file=sys.stderr, flush=True)
    log = side.ticks.with_suffix(".log")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with log.open("wb") as output:
        words = [str(word) for word in side.command]
        environment = os.environ | _ALLOCATOR | {"PATH": path}
        process = subprocess.Popen(words, cwd=REPOSITORY, env=environment, stdout=output, stderr=subprocess.STDOUT)
    running = _Running(side, process, log)
    try:
        running.wait_for(warm_up_steps)
        running.pause()
        yield running
    finally:
        running.kill()
