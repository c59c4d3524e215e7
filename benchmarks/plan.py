"""What planning an epoch costs at scale, and what lanes and windows do to reading and to the quality of the shuffle.

    python -m benchmarks.plan

Planning is everything before a worker's first read: the permutation, its lanes and their first windows. Quality is
measured against a true permutation, in which two images of one batch come from the same row group no more often than
chance has it: a ratio of 1 is as good, 10 says ten times as often. Images of one class do not cluster whatever the
ratio, since rows are written in an order shuffled by a hash of their names. Read amplification is rows read over rows
used.
"""

import time
import tracemalloc
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.loading.plan import EpochPlan

_BATCH = 1024
_GROUPS = 5_000
_ROWS_PER_GROUP = 256
_GROUPS_PER_FILE = 32


class Cost(NamedTuple):
    plan_s: float
    peak_bytes: int


def planning_cost(groups: int, lanes: int, workers: int) -> Cost:
    """Of one worker, from the sizes of the row groups to the first windows of its lanes, in mid-epoch."""
    sizes = np.full(groups, _ROWS_PER_GROUP)
    start = time.perf_counter()
    _plan(sizes, lanes, workers)
    plan_s = time.perf_counter() - start
    tracemalloc.start()
    _plan(sizes, lanes, workers)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return Cost(plan_s, peak_bytes)


def _plan(sizes: NDArray[np.int64], lanes: int, workers: int) -> None:
    plan = EpochPlan(sizes, lanes * 8, lanes)
    mine = plan.lanes_of(0, workers)
    windows = plan.reading_order(mine, plan.steps // 2)
    for window in (next(windows) for _ in mine):
        plan.order_of(window)


def clustering(batches: Sequence[NDArray[np.int64]], member_of: NDArray[np.int64]) -> float:
    """How often two rows of one batch belong together, over how often they would in a true permutation.

    batches: row numbers. member_of: what each row belongs to (a row group, a file, a class), as numbers from 0.
    """
    together = sum(_pairs(np.bincount(member_of[batch])) for batch in batches)
    of_a_batch = sum(len(batch) * (len(batch) - 1) / 2 for batch in batches)
    rows = len(member_of)
    by_chance = _pairs(np.bincount(member_of)) / (rows * (rows - 1) / 2)
    return float(together / of_a_batch / by_chance)


def _pairs(counts: NDArray[np.int64]) -> float:
    return float((counts * (counts - 1) / 2).sum())


def read_amplification(plan: EpochPlan) -> float:
    """Rows of all row groups that are read, over rows that are used."""
    sizes = np.asarray(plan.group_sizes)
    windows = plan.reading_order(range(plan.lanes))
    read = sum(int(sizes[segment.group]) for window in windows for segment in window.segments)
    return read / (plan.steps * plan.global_batch)


def main() -> None:
    _print_costs()
    _print_quality()


def _print_costs() -> None:
    print("| rows | row groups | lanes | workers | planning, ms a worker | peak memory, MiB |")
    print("|---:|---:|---:|---:|---:|---:|")
    for groups, lanes, workers in [(5_000, 512, 512), (5_000, 64, 8), (4_000_000, 512, 512), (4_000_000, 512, 1)]:
        cost = min((planning_cost(groups, lanes, workers) for _ in range(3)), key=lambda cost: cost.plan_s)
        milliseconds, mib = 1000 * cost.plan_s, cost.peak_bytes / 2**20
        print(f"| {groups * _ROWS_PER_GROUP:,} | {groups:,} | {lanes} | {workers} | {milliseconds:.1f} | {mib:.1f} |")


def _print_quality() -> None:
    rows = np.arange(_GROUPS * _ROWS_PER_GROUP)
    groups, files = rows // _ROWS_PER_GROUP, rows // (_ROWS_PER_GROUP * _GROUPS_PER_FILE)
    print(f"\n{len(rows):,} rows in {_GROUPS:,} row groups, {_GROUPS_PER_FILE} a file; global batch {_BATCH}.\n")
    print("| lanes | window | row groups in memory | same row group | same file | read amplification |")
    print("|---:|---:|---:|---:|---:|---:|")
    for lanes, window in product((16, 64, 256, 1024), (1, 4, 16)):
        plan = EpochPlan(np.full(_GROUPS, _ROWS_PER_GROUP), _BATCH, lanes, window)
        of_lanes = [plan.lane_rows(lane).reshape(plan.steps, -1) for lane in range(lanes)]
        batches = list(np.concatenate(of_lanes, axis=1)[::16])
        print(
            f"| {lanes} | {window} | {min(_GROUPS, lanes * window):,} | {clustering(batches, groups):.1f} "
            f"| {clustering(batches, files):.2f} | {read_amplification(plan):.3f} |"
        )


if __name__ == "__main__":
    main()
