"""Labels that a source gives as numbers: which are usable, how many classes they make."""

import pyarrow as pa
import pyarrow.compute as pc

LARGEST = 2**20 - 1
"""Far above the classes of any public dataset: a larger number is damage, and would make a table of classes as long."""


class NoLabelError(ValueError):
    """An image's label is missing or unusable; the message says why."""


def checked(label: object, classes: int) -> int:
    """The label; NoLabelError if it is none. classes: how many there are, 0 if that is not known."""
    if not isinstance(label, int) or isinstance(label, bool):
        raise NoLabelError(f"its label is {label!r}, no whole number")
    largest = classes - 1 if classes else LARGEST
    if not 0 <= label <= largest:
        raise NoLabelError(f"its label is {label}, not from 0 to {largest}")
    return label


def names(items: pa.Table) -> list[str]:
    """Of the classes that LISTED was seen to have: their numbers."""
    largest = pc.max(items.column("label")).as_py()
    return [] if largest is None else [str(label) for label in range(largest + 1)]
