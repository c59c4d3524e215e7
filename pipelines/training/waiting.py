"""How long a training waits for its input."""

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Protocol, TypeVar

import torch

T = TypeVar("T")


class Moment(Protocol):
    """When the device had done all it was given until then, as torch.cuda.Event says it."""

    def elapsed_time(self, later: Any, /) -> float:
        """Milliseconds to a later moment of the same device."""
        ...


class HostMoment:
    """The CPU has done what it was given as soon as it can ask for the time."""

    def __init__(self) -> None:
        self._s = time.monotonic()

    def elapsed_time(self, later: "HostMoment", /) -> float:
        return (later._s - self._s) * 1000


def _gpu_moment(device: torch.device) -> Moment:
    event: Moment = torch.cuda.current_stream(device).record_event(torch.cuda.Event(enable_timing=True))
    return event


def clock_of(device: torch.device) -> Callable[[], Moment]:
    """Tells the device's moments. A GPU's are those of its stream: while that is busy, a waiting host costs nothing."""
    return partial(_gpu_moment, device) if device.type == "cuda" else HostMoment


class InputWait:
    """Sums up how long the device had nothing to do but to wait for the next batch, since this was made."""

    def __init__(self, now: Callable[[], Moment]) -> None:
        self._now = now
        self._started = time.monotonic()
        self._waits: list[tuple[Moment, Moment]] = []
        self._known_ms = 0.0

    def timed(self, batches: Iterable[T]) -> Iterator[T]:
        """The same batches."""
        asked = self._now()
        for batch in batches:
            self._waits.append((asked, self._now()))
            yield batch
            asked = self._now()

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._started

    @property
    def seconds(self) -> float:
        """So far; on a GPU to be asked for once its steps are done."""
        self._known_ms += sum(asked.elapsed_time(given) for asked, given in self._waits)
        self._waits.clear()
        return self._known_ms / 1000

    @property
    def fraction(self) -> float:
        """`seconds`, of the time so far."""
        return self.seconds / self.elapsed_s
