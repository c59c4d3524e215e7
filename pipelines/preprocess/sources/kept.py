"""What a process keeps between two images: open files, unpacked content, the row group of the last image."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """The `most` things made last, by name. Threads may share it; a thing is made once, however many ask."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._things: dict[str, T] = {}
        self._lock = threading.Lock()

    def get(self, name: str, make: Callable[[], T]) -> T:
        with self._lock:
            if name not in self._things:
                made = make()
                while len(self._things) >= self._most:
                    del self._things[next(iter(self._things))]  # not closed: another thread may be reading it
                self._things[name] = made
            return self._things[name]

    def forget(self) -> None:
        with self._lock:
            self._things.clear()
