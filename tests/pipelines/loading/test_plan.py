"""Properties of the epoch plan."""

import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from benchmarks.plan import clustering, planning_cost
from pipelines.config import InputError
from pipelines.loading.plan import PADDING, EpochPlan, row_draws

sizes = st.lists(st.integers(0, 40), min_size=1, max_size=30).filter(lambda sizes: sum(sizes) > 0)


@st.composite
def training_plans(draw):
    group_sizes = tuple(draw(sizes))
    lanes = draw(st.sampled_from([1, 2, 4, 8]))
    global_batch = lanes * draw(st.integers(1, 6))
    assume(sum(group_sizes) >= global_batch)
    return EpochPlan(
        group_sizes,
        global_batch,
        lanes,
        draw(st.integers(1, 5)),
        draw(st.integers(0, 2**63 - 1)),
        draw(st.integers(0, 9)),
    )


def batches_of(plan, lanes=None):
    """(steps, rows of these lanes or of all in a batch): the row numbers of every batch."""
    of_lanes = [plan.lane_rows(lane).reshape(plan.steps, -1) for lane in lanes or range(plan.lanes)]
    return np.concatenate(of_lanes, axis=1)


@given(training_plans())
def test_a_training_epoch_has_each_row_at_most_once_and_fills_every_batch(plan):
    batches = batches_of(plan)
    rows = batches.ravel()
    assert batches.shape == (plan.steps, plan.global_batch)
    assert len(set(rows.tolist())) == len(rows)
    assert rows.min() >= 0
    assert rows.max() < sum(plan.group_sizes)
    assert sum(plan.group_sizes) - len(rows) < plan.global_batch


@given(sizes, st.integers(1, 8), st.integers(1, 20))
def test_a_validation_epoch_has_each_row_exactly_once_and_pads_only_the_rest(group_sizes, workers, per_worker):
    plan = EpochPlan(tuple(group_sizes), workers * per_worker, workers, shuffle=False)
    rows = batches_of(plan).ravel()
    real = rows[rows != PADDING]
    assert sorted(real.tolist()) == list(range(sum(group_sizes)))
    assert len(rows) - len(real) < plan.global_batch


@given(training_plans(), st.sampled_from([1, 2, 4]))
def test_workers_have_equal_batches_that_together_are_the_global_batches(plan, workers):
    assume(plan.lanes % workers == 0)
    shares = [batches_of(plan, plan.lanes_of(rank, workers)) for rank in range(workers)]
    assert {share.shape for share in shares} == {(plan.steps, plan.global_batch // workers)}
    together, alone = np.concatenate(shares, axis=1), batches_of(plan)
    assert (np.sort(together, axis=1) == np.sort(alone, axis=1)).all()
    assert all((plan.batch_rows(step) == alone[step]).all() for step in {0, plan.steps // 2, plan.steps - 1})


@given(training_plans(), st.data())
def test_the_reading_order_from_any_step_covers_the_rest_of_the_epoch_and_nothing_before(plan, data):
    step = data.draw(st.integers(0, plan.steps - 1))
    windows = list(plan.reading_order(range(plan.lanes), step))
    for lane in range(plan.lanes):
        of_lane = [window for window in windows if window.lane == lane]
        first_needed = step * plan.rows_per_lane
        assert of_lane[0].start == first_needed
        for window, following in pairwise(of_lane):
            assert following.start == window.start + window.rows
        assert of_lane[-1].start + of_lane[-1].rows == plan.steps * plan.rows_per_lane


@given(training_plans())
def test_windows_come_when_batches_first_need_them(plan):
    needed_at = [window.start // plan.rows_per_lane for window in plan.reading_order(range(plan.lanes))]
    assert needed_at == sorted(needed_at)


def _order(**changes):
    plan = EpochPlan((16,) * 32, 32, 4, **changes)
    return batches_of(plan).ravel().tolist()


def test_seeds_and_epochs_differ_and_the_same_are_the_same():
    assert _order(seed=0, epoch=0) == _order(seed=0, epoch=0)
    assert _order(seed=0, epoch=0) != _order(seed=0, epoch=1)
    assert _order(seed=0, epoch=0) != _order(seed=1, epoch=0)


def test_windows_are_shuffled_otherwise_in_every_lane_window_and_epoch():
    plans = [EpochPlan((16,) * 64, 32, 4, window_row_groups=4, epoch=epoch) for epoch in (0, 1)]
    windows = [(plan, window) for plan in plans for window in plan.reading_order(range(4))]
    orders = {tuple(plan.order_of(window)) for plan, window in windows if len(window.segments) == 4}
    assert len(orders) == sum(len(window.segments) == 4 for _, window in windows) > 2 * 4 * 2


def test_the_rows_left_over_are_others_in_another_epoch():
    left_over = []
    for epoch in range(4):
        plan = EpochPlan((7,) * 9, 20, 4, epoch=epoch)
        used = batches_of(plan).ravel().tolist()
        left_over.append(frozenset(range(63)) - frozenset(used))
    assert len(set(left_over)) > 1


def test_a_split_smaller_than_a_batch_is_refused_with_what_to_change():
    with pytest.raises(InputError, match=r"5 images, fewer than one batch of 8: set loader\.global_batch to at most 5"):
        EpochPlan((5,), 8, 4)


def test_workers_that_cannot_share_the_lanes_are_refused_with_what_to_change():
    with pytest.raises(InputError, match=r"3 workers cannot share 4 lanes evenly: set loader\.lanes"):
        EpochPlan((50,), 8, 4).lanes_of(0, 3)


def test_draws_of_a_row_depend_on_seed_epoch_and_row_alone():
    draws = {tuple(row_draws(*place, 1, 5)[0]) for place in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]}
    assert len(draws) == 4
    assert (row_draws(3, 2, 7, 10, 5)[4] == row_draws(3, 2, 11, 1, 5)[0]).all()


def test_draws_of_different_rows_share_no_number():
    numbers = row_draws(0, 0, 0, 1000, 6)
    assert len(np.unique(numbers)) == numbers.size
    assert 0 <= numbers.min() < numbers.max() < 1


@given(training_plans(), st.data())
def test_an_epoch_resumed_at_a_step_deals_the_rows_that_an_undisturbed_one_still_had(plan, data):
    step = data.draw(st.integers(0, plan.steps - 1))
    windows = list(plan.reading_order(range(plan.lanes), step))
    for lane in range(plan.lanes):
        rows = np.concatenate([plan.rows_of(window) for window in windows if window.lane == lane])
        assert rows.tolist() == plan.lane_rows(lane)[step * plan.rows_per_lane :].tolist()


@given(training_plans(), st.data())
def test_resuming_reads_no_row_group_of_which_no_row_is_needed(plan, data):
    step = data.draw(st.integers(0, plan.steps - 1))
    for window in plan.reading_order(range(plan.lanes), step):
        starts = [plan.stored_starts[segment.group] + segment.first for segment in window.segments]
        rows = plan.rows_of(window)
        for start, segment in zip(starts, window.segments, strict=True):
            assert ((rows >= start) & (rows < start + segment.rows)).any()


def test_lanes_do_not_all_want_new_row_groups_at_the_same_step():
    plan = EpochPlan((64,) * 256, 64, 16, window_row_groups=4)
    for workers in (1, 2, 4):
        mine = plan.lanes_of(0, workers)
        windows = list(plan.reading_order(mine))
        assert all(len(window.segments) == 1 for window in windows[: len(mine)])  # for the first batch
        later = [window.start // plan.rows_per_lane for window in windows if window.number > 1]
        assert np.bincount(later).max() <= len(mine) / 2


def test_planning_imagenet_for_512_workers_takes_under_50_ms_of_a_processor():
    def processor_s():
        start = time.process_time()
        plan = EpochPlan(np.full(5_000, 256), 4096, 512)
        next(plan.reading_order(plan.lanes_of(300, 512), plan.steps // 2))
        return time.process_time() - start

    assert min(processor_s() for _ in range(5)) < 0.05


def test_planning_a_billion_rows_takes_memory_for_their_row_groups_only():
    cost = planning_cost(4_000_000, lanes=512, workers=512)
    assert cost.peak_bytes < 4_000_000 * 40


def test_a_batch_mixes_row_groups_files_and_classes_nearly_as_a_true_permutation_does():
    """Every row group its own class: the worst that a dataset could be sorted."""
    plan = EpochPlan(np.full(500, 64), 256, 64, window_row_groups=4)
    groups = np.repeat(np.arange(500), 64)
    ours = clustering(list(batches_of(plan)), groups)
    permuted = np.random.default_rng(0).permutation(500 * 64).reshape(-1, 256)
    assert clustering(list(permuted), groups) == pytest.approx(1, abs=0.05)
    assert ours < 2.5
    assert clustering(list(batches_of(plan)), groups // 8) < 1.2
    in_order = np.arange(500 * 64).reshape(-1, 256)
    assert clustering(list(in_order), groups) > 100


def test_planning_makes_windows_only_as_they_are_needed():
    plan = EpochPlan(np.full(4_000_000, 256), 8192, 512)
    windows = plan.reading_order(plan.lanes_of(0, 1), plan.steps // 2)
    first = [next(windows) for _ in range(512)]
    assert {window.lane for window in first} == set(range(512))
    assert all(window.start == plan.steps // 2 * plan.rows_per_lane for window in first)
