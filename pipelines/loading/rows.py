"""Rows of a lane, dealt in the plan's order: what lies between reading row groups and decoding images."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.config import InputError
from pipelines.dataset import columns
from pipelines.dataset.manifest import offsets_of, whole
from pipelines.images.augmentation import Augmentation
from pipelines.images.steps import UnfitError
from pipelines.loading.plan import EpochPlan, Window, row_draws
from pipelines.loading.reader import RowGroupReader


@dataclass(frozen=True)
class Rows:
    """Images of one lane or of one batch, not decoded yet."""

    numbers: NDArray[np.int64]
    """(N,), counted through the split in its stored order."""
    labels: NDArray[np.int64]
    """(N,)"""
    sizes: NDArray[np.int64]
    """(N, 2): height and width in pixels, before the augmentation in a window, after it in a batch."""
    parameters: list[tuple[Any, ...]]
    """Of the augmentation's steps, once they are drawn."""
    keys: list[str]
    encoded: list[memoryview]

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, places: slice) -> "Rows":
        return Rows(*(getattr(self, field.name)[places] for field in fields(self)))

    def ordered(self, order: NDArray[np.int64]) -> "Rows":
        """In another order, or some of them."""
        places = order.tolist()
        return Rows(
            self.numbers[order],
            self.labels[order],
            self.sizes[order],
            [self.parameters[place] for place in places],
            [self.keys[place] for place in places],
            [self.encoded[place] for place in places],
        )

    @staticmethod
    def none() -> "Rows":
        """No rows."""
        empty = np.empty(0, np.int64)
        return Rows(empty, empty, np.empty((0, 2), np.int64), [], [], [])

    @staticmethod
    def joined(parts: Sequence["Rows"]) -> "Rows":
        """One after another; at least one."""
        if len(parts) == 1:
            return parts[0]
        columns_: list[Any] = []
        for field in fields(Rows):
            values = [getattr(part, field.name) for part in parts]
            is_array = isinstance(values[0], np.ndarray)
            columns_.append(np.concatenate(values) if is_array else [value for part in values for value in part])
        return Rows(*columns_)

    @staticmethod
    def of_table(table: pa.Table, first_number: int) -> "Rows":
        """Of columns.LOADED, nothing drawn yet. The images stay in the table's memory."""
        image = whole(table.column(columns.IMAGE))
        data, ends = memoryview(image.buffers()[2]).cast("B"), offsets_of(image).tolist()
        height, width = (table.column(name).to_numpy() for name in (columns.HEIGHT, columns.WIDTH))
        return Rows(
            np.arange(first_number, first_number + table.num_rows),
            table.column(columns.LABEL).to_numpy().astype(np.int64),
            np.stack([height, width], 1).astype(np.int64),
            [()] * table.num_rows,
            table.column(columns.KEY).to_pylist(),
            [data[start:end] for start, end in pairwise(ends)],
        )


class Dealer:
    """Deals out the rows of each lane in the plan's order, reading windows as they come to be needed.

    windows: of the plan, the ones that `reader` reads, in the same order. dataset: what errors call it.
    """

    def __init__(
        self,
        plan: EpochPlan,
        windows: Iterable[Window],
        reader: RowGroupReader,
        augmentation: Augmentation,
        dataset: str,
    ) -> None:
        self._plan = plan
        self._windows: Iterator[Window] = iter(windows)
        self._next = next(self._windows, None)
        self._reader = reader
        self._augmentation = augmentation
        self._dataset = dataset
        self._waiting: dict[int, tuple[Rows, int]] = {}
        """A lane's window that is being dealt, and how many of its rows were."""

    def take(self, lanes: Sequence[int], count: int) -> Rows:
        """The next `count` rows of each lane, one lane after another; fewer where a lane has no more.

        Raises InputError if an image cannot take the augmentation.
        """
        pieces = [piece for lane in lanes for piece in self._take(lane, count)]
        return Rows.joined(pieces or [Rows.none()])

    def _take(self, lane: int, count: int) -> list[Rows]:
        taken = []
        window, dealt = self._waiting.get(lane, (Rows.none(), 0))
        while count:
            if dealt == len(window):
                if self._next is None or self._next.lane != lane:
                    break
                window, dealt = self._read(self._next), 0
                self._next = next(self._windows, None)
            piece = window[dealt : dealt + count]
            taken.append(piece)
            dealt, count = dealt + len(piece), count - len(piece)
        self._waiting[lane] = (window, dealt) if dealt < len(window) else (Rows.none(), 0)
        return taken

    def _read(self, window: Window) -> Rows:
        parts, numbers = [], []
        seed, epoch = self._plan.seed, self._plan.epoch
        for segment in window.segments:
            table = self._reader.next_group().slice(segment.first, segment.rows)
            first = int(self._plan.stored_starts[segment.group]) + segment.first
            parts.append(Rows.of_table(table, first))
            numbers.append(row_draws(seed, epoch, first, segment.rows, self._augmentation.draws))
        return self._drawn(Rows.joined(parts), np.concatenate(numbers)).ordered(self._plan.order_of(window))

    def _drawn(self, rows: Rows, numbers: NDArray[np.float64]) -> Rows:
        try:
            drawn = self._augmentation.draw(numbers, rows.sizes)
        except UnfitError as error:
            raise InputError(f"{self._dataset}: image {rows.keys[error.index]}: {error}") from None
        return replace(rows, sizes=drawn.sizes, parameters=drawn.parameters)
