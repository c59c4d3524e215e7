"""SIGTERM and the first Ctrl-C as a notice, not an end: whoever wants the machine back is given a checkpoint first."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from pipelines.training.workers import Workers

_NO, _YES = torch.zeros(1), torch.ones(1)

STATUS = 128 + signal.SIGTERM
"""Of a process that ended because of it."""


class Stop:
    """Whether this training was asked to end: one worker that hears of it is enough, and all end at the same step.

    `hear` is what calls it; `agreed` exchanges what was heard while the steps go on, so an answer is a step old.
    """

    def __init__(self, workers: Workers, also: Callable[[], bool] = lambda: False) -> None:
        """also: another reason to stop, for as long as it is true."""
        self._workers = workers
        self._also = also
        self.heard = ""
        """The signal's name."""
        self._under_way: Callable[[], Tensor] | None = None

    def hear(self, name: str = "SIGTERM") -> None:
        self.heard = name

    def agreed(self) -> bool:
        """To be asked by all workers after every step; the same on all of them."""
        answer = self.finish()
        self._under_way = self._workers.begin_sum(_YES if self.heard or self._also() else _NO)
        return answer

    def finish(self) -> bool:
        """The answer to the last exchange, after which none is under way."""
        finished, self._under_way = self._under_way, None
        return finished is not None and bool(finished() > 0)


@contextmanager
def listening(workers: Workers, also: Callable[[], bool] = lambda: False) -> Iterator[Stop]:
    """SIGTERM is heard, and does no more, for as long as this lasts; a second Ctrl-C interrupts. also: see Stop."""
    stop = Stop(workers, also)
    terminated, interrupted = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    def interrupt(*_: object) -> None:
        signal.signal(signal.SIGINT, interrupted)
        stop.hear("SIGINT")

    signal.signal(signal.SIGTERM, lambda *_: stop.hear())
    if interrupted is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, terminated)
        signal.signal(signal.SIGINT, interrupted)
