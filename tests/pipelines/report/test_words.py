import pytest

from pipelines.report.words import highlights, opening
from tests.pipelines.report.studies import ensemble, facts, judged, training, whole, words


def opened(study):
    return words(opening(study))


def test_the_opening_says_what_was_trained_on_what_and_how_well_it_came_out(digits):
    told = opened(whole(digits.manifest))
    assert told.startswith(
        "The study pets has two trainings of lenet5_modern (5 layers with weights, 61,706 parameters) on pets: 1,438 "
        "training images of 10 classes, and 359 others to judge by (content digest 0123456789ab…)."
    )
    assert (
        "The best single network, lenet5_modern-pets-seed2, gets 4.00% of 1,000 images wrong (95% interval 3.00% to "
        "5.00%). The average of 2 networks, pets-ensemble, gets 2.00% of 1,000 images wrong (95% interval 1.00% to "
        "3.00%), which is 3.00 percentage points below its median member." in told
    )


def test_it_says_what_the_figures_cannot_tell():
    assert "With 1,000 images one image more or less is 0.10 percentage points." in opened(whole())
    assert "overlap" in opened(whole())  # at 3%
    apart = [training(1, judged(0.09)), training(2, judged(0.08))]
    assert "overlap" not in opened(facts(*apart, ensemble(apart)))
    many = [training(1, judged(0.09, images=50_000))]
    assert "one image more or less" not in opened(facts(*many))


def test_networks_that_err_alike_are_counted():
    alike = [training(seed, judged(0.05)) for seed in (1, 2, 3)]
    assert "6.00%), as do two others; the median of all 3 is 5.00%." in opened(facts(*alike))
    assert "6.00%), as does one other." in opened(facts(*alike[:2]))


def test_several_networks_are_told_apart():
    other = training(3, parameters={"model.name": "resnet20", "dataset": "folder/pets"}, tags={}, name="r")
    told = opened(facts(training(1), training(2), other))
    assert (
        "three trainings of lenet5_modern (twice, 5 layers with weights, 61,706 parameters) and resnet20 (once)" in told
    )


def test_trainings_that_are_not_done_are_counted():
    others = (training(2, status="FAILED"), training(3, status="RUNNING"), training(4, status="RUNNING"))
    assert "(1 failed, 1 finished, 2 still running) on" in opened(facts(training(1), *others))
    assert "finished" not in opened(whole())


@pytest.mark.parametrize(
    ("gain", "told"),
    [(0.0, "3.00%): no better than its median member."), (-0.01, "3.00%): worse than its median member.")],
)
def test_an_ensemble_that_gains_nothing_is_said_to(gain, told):
    members = [training(1, judged(0.02)), training(2, judged(0.02))]
    assert told in opened(facts(*members, ensemble(members, gain=gain)))


def test_without_evaluations_there_are_no_errors_to_compare():
    assert "None of the networks is evaluated yet" in opened(facts(training(1)))
    assert highlights(facts(training(1, curves={}))) == ()


def test_a_dataset_that_is_gone_is_said_to_be():
    assert "on pets (content digest 0123456789ab…), which is not where it was any more" in opened(whole())


def test_different_datasets_are_not_compared():
    other = training(2, tags={"strata.dataset_digest": "another"})
    told = opened(facts(training(1), other))
    assert "on 2 different datasets." in told
    assert "Errors on different datasets cannot be compared" in told


def test_fitted_weights_are_judged_on_one_half():
    members = [training(1, judged(0.05)), training(2, judged(0.04))]
    weighted = ensemble(members, parameters={"members": "id1 id2", "combine": "weights"})
    assert "it is judged on the other alone" in opened(facts(*members, weighted))
    assert "judged on the other" not in opened(whole())


def test_the_highlights_are_errors_gain_and_speed():
    assert [(one.label, one.value) for one in highlights(whole())] == [
        ("best single network", "4.00%"),
        ("ensemble of 2", "2.00%"),
        ("gain", "3.00 points"),
        ("training speed", "1,200/s"),
    ]
