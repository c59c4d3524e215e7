import pytest

from pipelines.config import ScheduleSettings
from pipelines.training.schedules import lr_factor, plateaus


def factors(kind, warmup_epochs=0.0, steps_per_epoch=10, epochs=4, val_errors=(), **more):
    settings = ScheduleSettings(kind=kind, warmup_epochs=warmup_epochs, **more)
    return [lr_factor(settings, step, steps_per_epoch, epochs, val_errors) for step in range(steps_per_epoch * epochs)]


def test_constant_stays_at_the_peak():
    assert factors("constant") == [1.0] * 40


KINDS = {
    "constant": {},
    "cosine": {},
    "step": {"every_epochs": 2},
    "multi_step": {"milestones": (2, 3)},
    "polynomial": {},
    "plateau": {},
}


@pytest.mark.parametrize("kind", KINDS)
def test_warmup_rises_linearly_to_the_peak(kind):
    curve = factors(kind, warmup_epochs=1, **KINDS[kind])
    assert curve[:11] == pytest.approx([*(i / 10 for i in range(1, 11)), 1.0])


def test_cosine_falls_from_the_peak_to_nearly_nothing_and_is_half_way_in_the_middle():
    curve = factors("cosine")
    assert curve[0] == 1
    assert curve[20] == pytest.approx(0.5)
    assert 0 < curve[-1] < 0.01
    assert curve == sorted(curve, reverse=True)


@pytest.mark.parametrize("kind", ["cosine", "polynomial"])
def test_what_falls_after_warmup_spans_the_remaining_steps(kind):
    curve = factors(kind, warmup_epochs=1, power=1)
    assert max(curve) == curve[10] == 1
    assert curve[25] == pytest.approx(0.5)


def test_polynomial_is_a_power_of_the_steps_left():
    curve = factors("polynomial", power=3)
    assert curve == pytest.approx([(1 - step / 40) ** 3 for step in range(40)])


def test_step_falls_by_gamma_every_so_many_epochs():
    assert factors("step", every_epochs=2, gamma=0.5, epochs=5) == [1.0] * 20 + [0.5] * 20 + [0.25] * 10


def test_multi_step_falls_at_each_milestone_as_resnets_learning_rate_does():
    curve = factors("multi_step", milestones=(30, 60, 80), steps_per_epoch=2, epochs=90)
    assert curve == pytest.approx([1.0] * 60 + [0.1] * 60 + [0.01] * 40 + [0.001] * 20)


def test_plateau_falls_after_each_wait_in_vain_and_so_often_at_the_most():
    errors = [0.5, 0.4, 0.4, 0.4, 0.3, 0.3, 0.35, 0.3, 0.3]
    curve = factors("plateau", patience_epochs=2, max_reductions=2, val_errors=errors, steps_per_epoch=1, epochs=10)
    assert curve == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01])


def test_plateau_does_not_look_ahead_of_the_step():
    later = [0.5, 0.4, 0.4, 0.4]
    before = factors("plateau", patience_epochs=1, val_errors=later[:2], epochs=3)
    assert factors("plateau", patience_epochs=1, val_errors=later, epochs=3) == before


@pytest.mark.parametrize(
    ("errors", "patience", "found"),
    [
        ([], 1, 0),
        ([0.5], 1, 0),
        ([0.5, 0.5], 1, 1),
        ([0.5, 0.5, 0.5, 0.5], 2, 1),
        ([0.5, 0.5, 0.5, 0.5, 0.5], 2, 2),
        ([0.5, 0.6, 0.4, 0.5, 0.3], 2, 0),
        ([0.5, 0.7, 0.6], 2, 1),
    ],
)
def test_a_plateau_is_so_many_errors_in_a_row_no_better_than_the_best(errors, patience, found):
    assert plateaus(errors, patience) == found
