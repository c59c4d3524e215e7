"""The order of an epoch, as a pure function of (row-group sizes, seed, epoch), made before anything is read.

1. Row groups are permuted by a counter-based generator keyed with (seed, epoch).
2. Their rows, end to end, are cut into `lanes` lanes of exactly equal length.
3. Within a lane, rows are shuffled in windows of a few row groups.
4. A global batch takes the same number of rows of every lane. Worker r of W serves lanes r, r + W, r + 2W, …

So all workers have the same number of batches, the sequence of global batches is the same for every W, each row comes
at most once, and a run resumes at any step by starting its lanes there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.config import InputError

PADDING = -1
"""Stands for a row in the places of the last batch that no row fills."""

_GROUP_ORDER, _WINDOW_ORDER, _ROW_DRAWS = range(3)


class Segment(NamedTuple):
    """Rows first to last, both included, of one row group."""

    group: int
    first: int
    last: int


@dataclass(frozen=True)
class Window:
    """A stretch of a lane: what to read for it and in which order its rows come."""

    lane: int
    start: int
    """Position in the lane of its first row."""
    segments: tuple[Segment, ...]
    order: NDArray[np.int64]
    """Permutation of the rows of all segments end to end."""

    @property
    def rows(self) -> int:
        return len(self.order)


@dataclass(frozen=True)
class EpochPlan:
    """One epoch over row groups of the given sizes. `global_batch` is a multiple of `lanes`.

    A training plan shuffles and drops the rows that fill no batch (others in every epoch); a plan made with
    shuffle=False keeps the stored order and all rows, its last lanes padded.
    """

    group_sizes: tuple[int, ...]
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
                f"the split has {sum(self.group_sizes)} images, fewer than one batch of {self.global_batch}: "
                f"set loader.global_batch to at most {sum(self.group_sizes)}, and loader.lanes to a divisor of it"
            )

    @property
    def rows_per_lane(self) -> int:
        """Rows of one lane in one global batch."""
        return self.global_batch // self.lanes

    @cached_property
    def steps(self) -> int:
        """Global batches in the epoch."""
        rows = sum(self.group_sizes)
        return rows // self.global_batch if self.shuffle else -(-rows // self.global_batch)

    @cached_property
    def _group_order(self) -> NDArray[np.int64]:
        if not self.shuffle:
            return np.arange(len(self.group_sizes))
        return generator(self.seed, _GROUP_ORDER, self.epoch).permutation(len(self.group_sizes))

    @cached_property
    def _group_starts(self) -> NDArray[np.int64]:
        """Where each group of `_group_order` starts in the whole order; one longer, its end is all rows."""
        return np.concatenate([[0], np.cumsum(np.array(self.group_sizes, np.int64)[self._group_order])])

    def lanes_of(self, rank: int, workers: int) -> range:
        """The lanes that worker `rank` of `workers` serves; an InputError if they cannot be shared evenly."""
        if self.lanes % workers:
            raise InputError(
                f"{workers} workers cannot share {self.lanes} lanes evenly: set loader.lanes to a multiple"
            )
        return range(rank, self.lanes, workers)

    def segments_of(self, lane: int) -> list[Segment]:
        """What one lane reads, in order, before its windows are shuffled."""
        length = self.steps * self.rows_per_lane
        begin, end = lane * length, min((lane + 1) * length, int(self._group_starts[-1]))
        if begin >= end:
            return []
        first = int(np.searchsorted(self._group_starts, begin, "right")) - 1
        segments = []
        for position in range(first, len(self.group_sizes)):
            start, stop = int(self._group_starts[position]), int(self._group_starts[position + 1])
            if start >= end:
                break
            if stop > start:
                segments.append(
                    Segment(int(self._group_order[position]), max(begin, start) - start, min(end, stop) - start - 1)
                )
        return segments

    def windows_of(self, lane: int) -> list[Window]:
        """The windows of one lane, in order."""
        segments = self.segments_of(lane)
        windows, start = [], 0
        for number, at in enumerate(range(0, len(segments), self.window_row_groups)):
            members = tuple(segments[at : at + self.window_row_groups])
            rows = sum(last - first + 1 for _, first, last in members)
            draws = generator(self.seed, _WINDOW_ORDER, self.epoch, lane, number)
            order = draws.permutation(rows) if self.shuffle else np.arange(rows)
            windows.append(Window(lane, start, members, order))
            start += rows
        return windows

    def reading_order(self, lanes: Sequence[int], start_step: int = 0) -> list[Window]:
        """The windows that these lanes need from `start_step` on, in the order in which batches come to need them."""
        needed = [
            window
            for lane in lanes
            for window in self.windows_of(lane)
            if window.start + window.rows > start_step * self.rows_per_lane
        ]
        first_step = {id(window): max(start_step, window.start // self.rows_per_lane) for window in needed}
        return sorted(needed, key=lambda window: (first_step[id(window)], window.lane, window.start))

    def batch_rows(self, step: int, lanes: Sequence[int] | None = None) -> NDArray[np.int64]:
        """Row numbers, in the dataset's stored order, of one batch (of these lanes; None: the whole global batch).

        The loader does not need this; it states what the loader must deliver.
        """
        rows = [
            self._lane_rows(lane)[step * self.rows_per_lane :][: self.rows_per_lane]
            for lane in lanes or range(self.lanes)
        ]
        return np.concatenate(rows)

    def _lane_rows(self, lane: int) -> NDArray[np.int64]:
        stored_starts = np.concatenate([[0], np.cumsum(self.group_sizes)])
        parts = [
            np.concatenate(
                [stored_starts[group] + np.arange(first, last + 1) for group, first, last in window.segments]
            )[window.order]
            for window in self.windows_of(lane)
        ]
        rows = np.concatenate([np.empty(0, np.int64), *parts])
        padding = self.steps * self.rows_per_lane - len(rows)
        return np.concatenate([rows, np.full(padding, PADDING)])


def generator(seed: int, purpose: int, *counters: int) -> np.random.Generator:
    """Random numbers for one purpose at one place (up to three counters): no draw depends on another place's."""
    place = [0, *counters, *[0] * (3 - len(counters))]
    return np.random.Generator(np.random.Philox(counter=place, key=[seed, purpose]))


def row_generator(seed: int, epoch: int, row: int) -> np.random.Generator:
    """The draws that augment one row in one epoch: the same for any number of workers and threads."""
    return generator(seed, _ROW_DRAWS, epoch, row)
