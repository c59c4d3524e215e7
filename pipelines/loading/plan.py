"""The order of an epoch, as a pure function of (row-group sizes, seed, epoch), made before anything is read.

1. Row groups are permuted by a counter-based generator keyed with (seed, epoch).
2. Their rows, end to end, are cut into `lanes` lanes of exactly equal length.
3. Within a lane, rows are shuffled in windows of a few row groups.
4. A global batch takes the same number of rows of every lane. Worker r of W serves lanes r, r + W, r + 2W, …

So all workers have the same number of batches, the sequence of global batches is the same for every W, each row comes
at most once, and a run resumes at any step by starting its lanes there. Windows are made as they come to be needed:
what a plan holds does not grow with anything but the number of row groups.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.config import InputError

PADDING = -1
"""Stands for a row in the places of the last batch that no row fills."""

_GROUP_ORDER, _WINDOW_ORDER, _ROW_DRAWS = range(3)
_GOLDEN = (5**0.5 - 1) / 2
"""Its multiples, every second or every eighth of them too, are spread evenly over [0, 1)."""
_DRAWS_PER_COUNTER = 4
"""Philox gives four numbers for each value of its counter."""


class Segment(NamedTuple):
    """Rows first to last, both included, of one row group."""

    group: int
    first: int
    last: int

    @property
    def rows(self) -> int:
        return self.last - self.first + 1


class Window(NamedTuple):
    """A stretch of a lane: what to read for it and in which order its rows come."""

    lane: int
    number: int
    """Within the lane, from 0."""
    start: int
    """Position in the lane of its first row."""
    segments: tuple[Segment, ...]
    remaining: NDArray[np.int64] | None = None
    """Order of its rows, where an epoch starts inside it; None: `EpochPlan.order_of` draws it."""

    @property
    def rows(self) -> int:
        return sum(segment.rows for segment in self.segments) if self.remaining is None else len(self.remaining)


@dataclass(frozen=True)
class EpochPlan:
    """One epoch over row groups of the given sizes. `global_batch` is a multiple of `lanes`.

    A training plan shuffles and drops the rows that fill no batch (others in every epoch); a plan made with
    shuffle=False keeps the stored order and all rows, its last lanes padded.
    """

    group_sizes: Sequence[int] | NDArray[np.int64]
    global_batch: int
    lanes: int
    window_row_groups: int = 4
    seed: int = 0
    epoch: int = 0
    shuffle: bool = True

    def __post_init__(self) -> None:
        assert self.global_batch % self.lanes == 0, "LoaderSettings checks this"
        if not self.steps:
            raise InputError(
                f"the split has {self.rows} images, fewer than one batch of {self.global_batch}: "
                f"set loader.global_batch to at most {self.rows}, and loader.lanes to a divisor of it"
            )

    @cached_property
    def _sizes(self) -> NDArray[np.int64]:
        return np.asarray(self.group_sizes, np.int64)

    @cached_property
    def rows(self) -> int:
        """Of all row groups."""
        return int(self._sizes.sum())

    @property
    def rows_per_lane(self) -> int:
        """Rows of one lane in one global batch."""
        return self.global_batch // self.lanes

    @property
    def steps(self) -> int:
        """Global batches in the epoch."""
        return self.rows // self.global_batch if self.shuffle else -(-self.rows // self.global_batch)

    @cached_property
    def _groups(self) -> NDArray[np.int64]:
        """Numbers of the row groups that have rows, in this epoch's order."""
        if self.shuffle:
            groups = generator(self.seed, _GROUP_ORDER, self.epoch).permutation(len(self._sizes))
        else:
            groups = np.arange(len(self._sizes))
        with_rows: NDArray[np.int64] = groups[self._sizes[groups] > 0]
        return with_rows

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        """Where each of `_groups` ends, its rows laid end to end."""
        return np.cumsum(self._sizes[self._groups])

    @cached_property
    def stored_starts(self) -> NDArray[np.int64]:
        """Number of the first row of each row group, counted in the dataset's stored order."""
        return np.cumsum(self._sizes) - self._sizes

    def lanes_of(self, rank: int, workers: int) -> range:
        """The lanes that worker `rank` of `workers` serves; an InputError if they cannot be shared evenly."""
        if self.lanes % workers:
            raise InputError(
                f"{workers} workers cannot share {self.lanes} lanes evenly: set loader.lanes to a multiple"
            )
        return range(rank, self.lanes, workers)

    def windows_of(self, lane: int, start: int = 0) -> Iterator[Window]:
        """The windows of one lane, in order, from its row `start` on."""
        begin, end = self._bounds(lane)
        if begin + start >= end:
            return
        lane_first, last = self._position_of(begin), self._position_of(end - 1)
        for number in count(self._window_at(lane, self._position_of(begin + start) - lane_first)):
            first, end_before = (lane_first + self._window_begin(lane, which) for which in (number, number + 1))
            if first > last:
                return
            members = range(first, min(end_before, last + 1))
            window = Window(
                lane,
                number,
                max(begin, self._start_of(members[0])) - begin,
                tuple(self._segment(position, begin, end) for position in members),
            )
            yield self._trimmed(window, start - window.start) if start > window.start else window

    def order_of(self, window: Window) -> NDArray[np.int64]:
        """In which order the rows come that the window's segments have, end to end."""
        if window.remaining is not None:
            return window.remaining
        if not self.shuffle:
            return np.arange(window.rows)
        draws = generator(self.seed, _WINDOW_ORDER, self.epoch, window.lane, window.number)
        return draws.permutation(window.rows)

    def reading_order(self, lanes: Sequence[int], start_step: int = 0) -> Iterator[Window]:
        """The windows that these lanes need from `start_step` on, in the order in which batches come to need them."""

        def needed_at(window: Window) -> tuple[int, int, int]:
            return window.start // self.rows_per_lane, window.lane, window.number

        start = start_step * self.rows_per_lane
        return heapq.merge(*(self.windows_of(lane, start) for lane in lanes), key=needed_at)

    def batch_rows(self, step: int, lanes: Sequence[int] | None = None) -> NDArray[np.int64]:
        """Row numbers, in the dataset's stored order, of one batch (of these lanes; None: the whole global batch).

        The loader does not need this; it states what the loader must deliver.
        """
        begin, end = step * self.rows_per_lane, (step + 1) * self.rows_per_lane
        return np.concatenate([self.lane_rows(lane)[begin:end] for lane in lanes or range(self.lanes)])

    def lane_rows(self, lane: int) -> NDArray[np.int64]:
        """Row numbers of one lane, in order, with its padding."""
        parts = [self.rows_of(window) for window in self.windows_of(lane)]
        rows = np.concatenate([np.empty(0, np.int64), *parts])
        return np.concatenate([rows, np.full(self.steps * self.rows_per_lane - len(rows), PADDING)])

    def rows_of(self, window: Window) -> NDArray[np.int64]:
        """Row numbers, in the dataset's stored order, of a window, in the order in which they come."""
        stored = [self.stored_starts[group] + np.arange(first, last + 1) for group, first, last in window.segments]
        rows: NDArray[np.int64] = np.concatenate(stored)[self.order_of(window)]
        return rows

    def _window_begin(self, lane: int, number: int) -> int:
        """The first row group of a window, counted in its lane.

        The first window of a lane is one row group, so that the first batch waits for few of them. The length of the
        second is spread evenly over lanes, whichever of them a worker has: so they do not all want new ones at once.
        """
        phase = int(self.window_row_groups * (lane * _GOLDEN % 1))
        return number if number < 2 else 2 + phase + (number - 2) * self.window_row_groups

    def _window_at(self, lane: int, group: int) -> int:
        """The window that has that row group of the lane."""
        second_end = self._window_begin(lane, 2)
        return min(group, 1) if group < second_end else 2 + (group - second_end) // self.window_row_groups

    def _bounds(self, lane: int) -> tuple[int, int]:
        length = self.steps * self.rows_per_lane
        return lane * length, min((lane + 1) * length, self.rows)

    def _position_of(self, row: int) -> int:
        """Which of `_groups` has that row of the whole order."""
        return int(np.searchsorted(self._ends, row, "right"))

    def _start_of(self, position: int) -> int:
        return int(self._ends[position - 1]) if position else 0

    def _segment(self, position: int, begin: int, end: int) -> Segment:
        """What lies between `begin` and `end` of the group at that position."""
        start, stop = self._start_of(position), int(self._ends[position])
        return Segment(int(self._groups[position]), max(begin, start) - start, min(end, stop) - start - 1)

    def _trimmed(self, window: Window, dealt: int) -> Window:
        """The window without its first rows, and without the segments that only they came from."""
        order = self.order_of(window)[dealt:]
        ends = np.cumsum([segment.rows for segment in window.segments])
        which = np.searchsorted(ends, order, "right")
        used = np.unique(which)
        removed = np.cumsum([0 if index in used else segment.rows for index, segment in enumerate(window.segments)])
        kept = tuple(window.segments[index] for index in used)
        return window._replace(start=window.start + dealt, segments=kept, remaining=order - removed[which])


def generator(seed: int, purpose: int, *counters: int) -> np.random.Generator:
    """Random numbers for one purpose at one place (up to three counters): no draw depends on another place's."""
    place = [0, *counters, *[0] * (3 - len(counters))]
    return np.random.Generator(np.random.Philox(counter=place, key=[seed, purpose]))


def row_draws(seed: int, epoch: int, first_row: int, rows: int, draws: int) -> NDArray[np.float64]:
    """(rows, draws) uniform numbers in [0, 1) that augment the rows from `first_row` on in one epoch.

    A row's numbers depend on seed, epoch and row alone: the same for any number of workers and threads.
    """
    counters = -(-draws // _DRAWS_PER_COUNTER)
    bits = np.random.Philox(counter=[first_row * counters, epoch, 0, 0], key=[seed, _ROW_DRAWS])
    return np.random.Generator(bits).random((rows, counters * _DRAWS_PER_COUNTER))[:, :draws]
