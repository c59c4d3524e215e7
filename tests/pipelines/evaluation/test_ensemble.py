"""Spark's answers against numpy's, over predictions that two workers each have stored."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from pipelines.config import EnsembleSettings, InputError
from pipelines.evaluation.combining import fit_weights, orders_of
from pipelines.evaluation.ensemble import Together, of_part, worst_mistakes
from pipelines.evaluation.members import errors, read_members, read_predictions
from pipelines.evaluation.outcomes import outcomes_of
from pipelines.evaluation.predictions import PredictionWriter, Source, rounded
from pipelines.evaluation.study import select_greedily

IMAGES, CLASSES = 90, 7
RUNS = ["c", "a", "b"]
KEYS = [f"key{number:03d}" for number in range(IMAGES)]
SOURCE = Source("", "as_trained", "digest", "classes")


def write(folder, run, labels, probabilities, keys=KEYS, workers=2, **source):
    """As `workers` workers would, one after another: rank 0 last, since it is the one that publishes."""
    of_run = replace(SOURCE, run=run, **source)
    writers = [PredictionWriter(folder, of_run, rank, lambda: None) for rank in range(workers)]
    for writer in writers:
        writer.__enter__()
    for rank, writer in reversed(list(enumerate(writers))):
        mine = slice(rank, None, workers)
        writer.write(keys[mine], probabilities[mine], outcomes_of(probabilities[mine], labels[mine]))
        writer.__exit__(None)


@pytest.fixture(scope="module")
def labels():
    return np.random.default_rng(9).integers(CLASSES, size=IMAGES)


@pytest.fixture(scope="module")
def chances(labels):
    """(images, members, classes), in the order of RUNS: all right often, the last one more often."""
    draws = np.random.default_rng(0)
    scores = draws.normal(size=(IMAGES, len(RUNS), CLASSES))
    scores[np.arange(IMAGES), :, labels] += [0.8, 1.0, 1.6]
    powers = np.exp(scores)
    return rounded((powers / powers.sum(2, keepdims=True)).astype(np.float32))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, labels, chances):
    folder = tmp_path_factory.mktemp("stored") / "pre[dic]tions"  # Spark must not take it for a pattern
    for place, run in enumerate(RUNS):
        write(folder, run, labels, chances[:, place])
    return folder


@pytest.fixture(scope="module")
def members(spark, folder):
    return read_members(spark, folder, RUNS)


@pytest.fixture(scope="module")
def together(members):
    return Together(members, RUNS)


def top_k_error(probabilities, labels, k):
    strongest = np.argsort(-probabilities, axis=1)[:, :k]
    return float((strongest != labels[:, None]).all(1).mean())


def average(chances, weights, of_logits):
    if not of_logits:
        return (chances.astype(np.float64) * np.reshape(weights, (1, -1, 1))).sum(1)
    geometric = np.prod(chances.astype(np.float64) ** np.reshape(weights, (1, -1, 1)), 1)
    return geometric / geometric.sum(1, keepdims=True)


def test_the_errors_of_members_are_those_of_numpy(members, labels, chances):
    found = {error.run: error for error in errors(members)}
    for place, run in enumerate(RUNS):
        assert found[run].top1 == pytest.approx(top_k_error(chances[:, place], labels, 1))
        assert found[run].top5 == pytest.approx(top_k_error(chances[:, place], labels, 5))
        assert found[run].images == IMAGES


@pytest.mark.parametrize(
    ("weights", "of_logits"), [([1 / 3] * 3, False), ([1 / 3] * 3, True), ([0.2, 0.1, 0.7], False)]
)
def test_the_ensemble_is_the_average_of_its_members(
    spark, folder, together, labels, chances, weights, of_logits, tmp_path
):
    together.write_predictions(tmp_path, "all", np.array(weights), of_logits)
    stored = read_predictions(spark, tmp_path, ["all"])
    expected = average(chances, weights, of_logits)
    rows = stored.collect()
    assert sorted(row.key for row in rows) == KEYS
    for row in rows:
        number = KEYS.index(row.key)
        assert row.label == labels[number]
        np.testing.assert_allclose(row.probabilities, expected[number], rtol=2**-11)
        assert (row.protocol, row.dataset_digest, row.classes_digest) == ("as_trained", "digest", "classes")
    (error,) = errors(stored)
    evaluation = together.evaluate(np.array(weights), of_logits)
    assert error.top1 == evaluation.top1_error == top_k_error(expected, labels, 1)
    assert error.top5 == evaluation.top5_error == top_k_error(expected, labels, 5)
    assert evaluation.loss == pytest.approx(-np.log(expected[np.arange(IMAGES), labels]).mean())
    worst = worst_mistakes(stored, 4)
    of_label = expected[np.arange(IMAGES), labels]
    wrong = np.flatnonzero(expected.argmax(1) != labels)
    assert [one.key for one in worst] == [KEYS[place] for place in wrong[np.argsort(of_label[wrong])][:4]]
    for one in worst:
        assert one.predicted == expected[KEYS.index(one.key)].argmax()


def test_the_curve_is_that_of_every_order_of_the_members(together, labels, chances):
    orders = orders_of(3, most=6, seed=0)
    assert sorted(map(tuple, orders)) == list(permutations(range(3)))
    curve = together.curve(orders, of_logits=False)
    for order, along in zip(orders, curve, strict=True):
        for size in (1, 2, 3):
            mean = chances[:, order[:size]].astype(np.float64).mean(1)
            assert along[size - 1].tolist() == [top_k_error(mean, labels, 1), top_k_error(mean, labels, 5)]


def test_random_orders_are_those_of_the_seed():
    assert orders_of(5, most=20, seed=3).shape == (20, 5)
    assert (orders_of(5, 20, 3) == orders_of(5, 20, 3)).all()
    assert (orders_of(5, 20, 3) != orders_of(5, 20, 4)).any()


def test_agreement_is_the_share_of_equal_answers(together, chances):
    answers = chances.argmax(2)
    expected = [[(answers[:, one] == answers[:, other]).mean() for other in range(3)] for one in range(3)]
    np.testing.assert_allclose(together.agreement(), expected)


def halves(members):
    fitting = {row.key for row in of_part(members, "fitting", 1).collect()}
    reporting = {row.key for row in of_part(members, "reporting", 1).collect()}
    return ([KEYS.index(key) for key in sorted(half)] for half in (fitting, reporting))


def test_weights_are_fitted_on_one_half_and_judged_on_the_other(members, labels, chances):
    fitting, reporting = halves(members)
    assert sorted(fitting + reporting) == list(range(IMAGES))
    assert len(fitting) > 25
    assert len(reporting) > 25
    weights = Together(of_part(members, "fitting", 1), RUNS).fitted_weights()
    of_labels = chances[fitting, :, labels[fitting]]
    np.testing.assert_allclose(weights, fit_weights(of_labels), atol=1e-6)
    judged = Together(of_part(members, "reporting", 1), RUNS).evaluate(weights, False)
    assert judged.images == len(reporting)
    assert judged.top1_error == top_k_error(average(chances[reporting], weights, False), labels[reporting], 1)


def test_fitted_weights_are_the_most_likely_ones_of_a_grid(labels, chances):
    of_labels = chances[np.arange(IMAGES), :, labels].astype(np.float64)
    grid = [(a, b, 20 - a - b) for a in range(21) for b in range(21 - a)]
    likelihoods = [np.log(of_labels @ np.array(weights) / 20).sum() for weights in grid]
    fitted = np.log(of_labels @ fit_weights(of_labels)).sum()
    assert fitted >= max(likelihoods)
    assert fit_weights(of_labels).sum() == pytest.approx(1)


def test_greedy_selection_takes_what_helps_best_on_one_half_and_is_judged_on_the_other(members, labels, chances):
    fitting, reporting = halves(members)
    settings = EnsembleSettings(name="x", seed=1, greedy=3)
    found = select_greedily(settings, members, RUNS, of_logits=False)
    chosen, reached = [], 1.0
    while len(chosen) < 3:
        tried = [
            (top_k_error(chances[fitting][:, [*chosen, place]].mean(1), labels[fitting], 1), place)
            for place in range(3)
            if place not in chosen
        ]
        if min(tried)[0] >= reached:
            break
        reached, place = min(tried)
        chosen.append(place)
    assert found.members == [RUNS[place] for place in chosen]
    for size, (top1, _) in enumerate(found.errors, start=1):
        assert top1 == top_k_error(chances[reporting][:, chosen[:size]].mean(1), labels[reporting], 1)


def test_a_member_without_predictions_is_named(spark, folder):
    with pytest.raises(InputError, match=r"no predictions of run d; make them with jobs/evaluate\.py runs=\[d\]"):
        read_members(spark, folder, ["a", "d"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset_digest": "another"}, r"predict different datasets \(another of run d, digest of run a\)"),
        ({"classes_digest": "others"}, r"number different classes \(classes of run a, others of run d\)"),
        ({"protocol": "ten_crop"}, r"different protocols \(as_trained of run a, ten_crop of run d\)"),
    ],
)
def test_members_that_cannot_be_averaged_are_refused(spark, folder, labels, chances, change, message):
    write(folder, "d", labels, chances[:, 0], **change)
    with pytest.raises(InputError, match=message):
        read_members(spark, folder, ["a", "d"])


def test_a_member_that_lacks_images_is_refused_with_their_keys(spark, folder, labels, chances):
    write(folder, "d", labels[5:], chances[5:, 0], KEYS[5:])
    with pytest.raises(InputError, match=r"run d predicts 85 of 90 images, it lacks key000, key001, key002, …; eval"):
        read_members(spark, folder, ["a", "d"])


def test_an_image_that_is_predicted_twice_is_refused(spark, folder, labels, chances):
    write(folder, "d", np.append(labels, labels[:1]), np.append(chances[:, 0], chances[:1, 0], 0), [*KEYS, KEYS[0]])
    with pytest.raises(InputError, match="1 predictions of run d are there twice"):
        read_members(spark, folder, ["a", "d"])


@pytest.mark.parametrize(
    ("runs", "message"), [(["a"], "at least two runs, found 1"), (["a", "a"], "a is listed twice")]
)
def test_too_few_or_repeated_members_are_refused(spark, folder, runs, message):
    with pytest.raises(InputError, match=message):
        read_members(spark, folder, runs)
