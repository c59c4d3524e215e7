import pytest
from torch import nn

from pipelines.config import OptimizerSettings, ScheduleSettings
from pipelines.training.optimization import lr_factor, make_optimizer, set_lr


def factors(kind, warmup_epochs=0.0, steps_per_epoch=10, epochs=4):
    settings = ScheduleSettings(kind=kind, warmup_epochs=warmup_epochs)
    return [lr_factor(settings, step, steps_per_epoch, epochs) for step in range(steps_per_epoch * epochs)]


def test_constant_stays_at_the_peak():
    assert factors("constant") == [1.0] * 40


def test_warmup_rises_linearly_to_the_peak():
    assert factors("constant", warmup_epochs=1)[:11] == pytest.approx([*(i / 10 for i in range(1, 11)), 1.0])


def test_cosine_falls_from_the_peak_to_nearly_nothing_and_is_half_way_in_the_middle():
    curve = factors("cosine")
    assert curve[0] == 1
    assert curve[20] == pytest.approx(0.5)
    assert 0 < curve[-1] < 0.01
    assert curve == sorted(curve, reverse=True)


def test_cosine_after_warmup_spans_the_remaining_steps():
    curve = factors("cosine", warmup_epochs=1)
    assert max(curve) == curve[10] == 1
    assert curve[25] == pytest.approx(0.5)


def test_sgd_is_set_up_as_asked():
    optimizer = make_optimizer(
        nn.Linear(2, 2), OptimizerSettings(lr=0.3, momentum=0.8, weight_decay=0.1, nesterov=True)
    )
    set_lr(optimizer, 0.05)
    (group,) = optimizer.param_groups
    assert {key: group[key] for key in ("lr", "momentum", "weight_decay", "nesterov")} == {
        "lr": 0.05,
        "momentum": 0.8,
        "weight_decay": 0.1,
        "nesterov": True,
    }
