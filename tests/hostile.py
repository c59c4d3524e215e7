"""What an attacker would send, made harmless."""

from pathlib import Path


class Hostile:
    """Creates a file when it is unpickled."""

    def __init__(self, trap: Path) -> None:
        self.trap = trap

    def __reduce__(self) -> tuple[object, ...]:
        return (self.trap.touch, ())
