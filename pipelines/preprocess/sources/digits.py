"""The 1,797 digits that scikit-learn carries: a copy of the UCI optical digits, 8 x 8 pixels of 17 grey levels."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipelines.config import SourceSettings
from pipelines.preprocess.sources.listing import Item, Listing, class_table, table_of
from pipelines.preprocess.sources.raw import pgm

_FILE = "sklearn.datasets.load_digits"


@lru_cache(maxsize=1)
def _digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    return pixels, digits.target


@dataclass(frozen=True)
class ReadDigit:
    """`offset` is the number of the digit. Carries all of them: executors need not have scikit-learn."""

    pixels: bytes

    def __call__(self, file: str, offset: int, length: int) -> bytes:
        return pgm(self.pixels[offset * length :][:length], 8, 8)


def list_digits(source: SourceSettings) -> Listing:
    """Keys are `digits/0000` to `digits/1796`."""
    pixels, labels = _digits()
    items = (Item(f"digits/{number:04d}", _FILE, number, 64, int(label), None) for number, label in enumerate(labels))
    return Listing(
        table_of(items),
        class_table(source, [str(digit) for digit in range(10)]),
        "scikit-learn's handwritten digits",
        "scikit-learn",
        ReadDigit(pixels.tobytes()),
        hashlib.sha256(pixels.tobytes()).hexdigest(),
    )
