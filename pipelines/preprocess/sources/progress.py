"""Lines that tell how far a long reading is: amount, rate, time left."""

import threading
import time

_EVERY_S = 5.0


class ProgressLines:
    """Prints a line every few seconds, so nothing at all for what is quick. Threads may share it."""

    def __init__(self, what: str, total: float, unit: str, every_s: float = _EVERY_S) -> None:
        self._what = what
        self._total = total
        self._unit = unit
        self._every_s = every_s
        self._done = 0.0
        self._lock = threading.Lock()
        self._start = self._printed = time.monotonic()

    def add(self, amount: float) -> None:
        """So much more of the total is done."""
        with self._lock:
            self._done += amount
            now = time.monotonic()
            if now - self._printed < self._every_s:
                return
            self._printed = now
            rate = self._done / (now - self._start)
            left_s = (self._total - self._done) / rate
            print(
                f"  {self._what}: {self._done:.4g} of {self._total:.4g} {self._unit}, "
                f"{rate:.3g} {self._unit}/s, {left_s:.0f} s left",
                flush=True,
            )
