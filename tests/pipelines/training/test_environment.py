import pytest

from pipelines.config import HorovodSettings, TrainSettings
from pipelines.training.environment import FUSION_BYTES, environment_of

FUSION = {"HOROVOD_FUSION_THRESHOLD": str(FUSION_BYTES)}
DEFAULTS = FUSION | {"HOROVOD_STALL_CHECK_TIME_SECONDS": "60", "HOROVOD_STALL_SHUTDOWN_TIME_SECONDS": "300"}


@pytest.mark.parametrize(
    ("settings", "variables"),
    [
        ({}, {}),
        ({"fusion_threshold_mb": 32}, {}),  # of the buckets
        ({"cycle_time_ms": 2}, {"HOROVOD_CYCLE_TIME": "2"}),
        ({"cycle_time_ms": 0.5}, {"HOROVOD_CYCLE_TIME": "0.5"}),
        ({"hierarchical_allreduce": True}, {"HOROVOD_HIERARCHICAL_ALLREDUCE": "1"}),
        ({"hierarchical_allreduce": False}, {"HOROVOD_HIERARCHICAL_ALLREDUCE": "0"}),
        ({"autotune": True, "fusion_threshold_mb": 32}, {"HOROVOD_AUTOTUNE": "1"}),
        ({"timeline": True}, {"HOROVOD_TIMELINE": "DYNAMIC"}),
        ({"stall_shutdown_s": None}, {"HOROVOD_STALL_SHUTDOWN_TIME_SECONDS": "0"}),
        (
            {"stall_check_s": 5, "stall_shutdown_s": 9},
            {"HOROVOD_STALL_CHECK_TIME_SECONDS": "5", "HOROVOD_STALL_SHUTDOWN_TIME_SECONDS": "9"}
            | {"HOROVOD_GLOO_TIMEOUT_SECONDS": "9"},
        ),
        ({"compression": "fp16", "sync_batch_norm": True}, {}),
        ({"adasum": True, "fusion_threshold_mb": 32}, {"HOROVOD_FUSION_THRESHOLD": str(32 * 2**20)}),
    ],
    ids=str,
)
def test_settings_become_the_variables_that_horovod_reads(settings, variables):
    assert environment_of(HorovodSettings(**settings), gpus=True) == DEFAULTS | variables


@pytest.mark.parametrize(
    ("settings", "cycle_ms"), [({}, "100"), ({"cycle_time_ms": 2}, "2"), ({"autotune": True}, None)], ids=str
)
def test_without_gpus_horovod_looks_less_often_unless_told_otherwise(settings, cycle_ms):
    assert environment_of(HorovodSettings(**settings), gpus=False).get("HOROVOD_CYCLE_TIME") == cycle_ms


@pytest.mark.parametrize("which", ["autotune", "adasum"])
def test_autotuning_and_adasum_have_horovods_own_threshold(which):
    assert not FUSION.keys() & environment_of(HorovodSettings(**{which: True}), gpus=True).keys()


def test_without_a_stall_check_it_is_off():
    assert environment_of(HorovodSettings(stall_check_s=None, stall_shutdown_s=None), gpus=True) == FUSION | {
        "HOROVOD_STALL_CHECK_DISABLE": "1",
        "HOROVOD_STALL_SHUTDOWN_TIME_SECONDS": "0",
    }


@pytest.mark.parametrize("check_s", [300, None])
def test_a_shutdown_that_horovod_would_ignore_is_refused(check_s):
    with pytest.raises(ValueError, match=r"horovod\.stall_shutdown_s = 300 must be more than horovod.stall_check_s"):
        HorovodSettings(stall_check_s=check_s)


@pytest.mark.parametrize("change", [{"clip_norm": 1.0}, {"precision": "float16"}])
def test_adasum_is_refused_with_what_needs_averaged_gradients(change):
    with pytest.raises(ValueError, match=r"horovod\.adasum = true cannot go with"):
        TrainSettings(dataset="d", model={"name": "m"}, horovod={"adasum": True}, **change)


def identity(**changes):
    return TrainSettings(dataset="d", model={"name": "m"}, **changes).identity("digest")


def test_what_changes_only_the_pace_leaves_it_the_same_training():
    assert identity(horovod={"fusion_threshold_mb": 8, "timeline": True}, channels_last=True) == identity()
    assert identity(horovod={"compression": "fp16"}) != identity()
