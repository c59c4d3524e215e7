"""A study read back from a real store, into which the house's own tracker has written it."""

import math

import pytest

from pipelines.config import InputError, TrackingSettings
from pipelines.tracking.entries import Metrics
from pipelines.tracking.store import connect
from pipelines.tracking.studies import read_study
from pipelines.tracking.tags import KIND_TAG
from pipelines.tracking.tracker import MlflowTracker


def said(line):
    pass


def log(tracker, at_ms, step, **values):
    """At a time of its own, as a training does."""
    tracker._record(Metrics(values=values, step=step, at_ms=at_ms))


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """A store with one study of two trainings, one of them still running, an ensemble, and a run of another kind."""
    folder = tmp_path_factory.mktemp("studies")
    settings = TrackingSettings(
        uri=f"sqlite:///{folder}/mlflow.db", artifacts=folder / "artifacts", experiment="a study"
    )
    done = MlflowTracker.begin(settings, "b, done")
    done.log_tags({KIND_TAG: "training", "strata.dataset_digest": "d1"})
    done.log_parameters({"model.name": "lenet5", "epochs": 2})
    for step, rate in ((1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4)):
        log(done, 1000 + 10 * step, step, learning_rate=rate, step_loss=1.0)
    log(done, 1025, 1, val_loss=0.9, train_top1_error=math.nan)
    log(done, 1045, 2, val_loss=0.5)
    for step, busy in ((0, 50.0), (1, 100.0)):
        log(done, step, step, **{"system/one/cpu_utilization_percentage": busy})
        log(done, step, step, **{"system/two/cpu_utilization_percentage": 30.0})
        log(done, step, step, **{"system/one/gpu_1_utilization_percentage": busy})
    done.log_text("a: 1", "settings.yaml")
    done.log_text("x", "evaluation/as_trained/classes.csv")
    done.finish()
    MlflowTracker.begin(settings, "a, running").log_tags({KIND_TAG: "training"})
    ensemble = MlflowTracker.begin(settings, "pair")
    ensemble.log_tags({KIND_TAG: "ensemble"})
    for size, error in ((1, 0.2), (2, 0.1)):
        ensemble.log_metrics({"curve_top1_error": error}, step=size)
    ensemble.finish()
    group = MlflowTracker.begin(settings, "seeds")
    group.log_tags({KIND_TAG: "group"})
    empty = settings.model_copy(update={"experiment": "preprocessing alone"})
    MlflowTracker.begin(empty, "preprocess").log_tags({KIND_TAG: "preprocess"})
    return settings


@pytest.fixture(scope="module")
def study(settings):
    return read_study(settings, said)


def test_trainings_and_ensembles_are_found_whatever_became_of_them(study):
    assert study.name == "a study"
    assert [(run.name, run.kind, run.status) for run in study.runs] == [
        ("a, running", "training", "RUNNING"),
        ("b, done", "training", "FINISHED"),
        ("pair", "ensemble", "FINISHED"),
    ]
    assert [run.name for run in study.trainings] == ["a, running", "b, done"]
    assert [run.name for run in study.ensembles] == ["pair"]


def test_curves_are_over_epochs_and_hold_numbers_alone(study):
    _, done, pair = study.runs
    assert done.curves == {"val_loss": {1: 0.9, 2: 0.5}, "learning_rate": {1: 0.2, 2: 0.4}, "train_top1_error": {}}
    assert done.epochs == 2
    assert pair.curves == {"curve_top1_error": {1: 0.2, 2: 0.1}}


def test_the_load_is_averaged_over_time_hosts_and_gpus(study):
    _, done, _ = study.runs
    assert done.load == {"cpu_utilization_percentage": 52.5, "utilization_percentage": 75.0}


def test_a_metric_that_is_no_number_is_none(study):
    _, done, _ = study.runs
    assert done.metric("val_loss") == 0.5
    assert done.metric("train_top1_error") is None
    assert done.metric("never logged") is None


def test_settings_tags_and_artifacts_are_those_of_the_run(study):
    running, done, _ = study.runs
    assert (done.network, done.dataset_digest, done.is_finished) == ("lenet5", "d1", True)
    assert (running.network, running.dataset_digest, running.is_finished) == ("", "", False)
    assert done.artifact("settings.yaml") == b"a: 1"
    assert done.artifact("evaluation/as_trained/classes.csv") == b"x"
    assert done.artifact("evaluation/dense/classes.csv") is None
    assert running.artifact("settings.yaml") is None


def test_reading_says_how_far_it_is(settings):
    lines = []
    read_study(settings, lines.append)
    assert lines == ["reading run 1 of 3: a, running", "reading run 2 of 3: b, done", "reading run 3 of 3: pair"]


def test_an_unknown_study_is_answered_with_those_there_are(settings):
    unknown = settings.model_copy(update={"experiment": "a stduy"})
    with pytest.raises(InputError, match=r"study = a stduy: no experiment .*; there are Default, a study, preproc"):
        read_study(unknown, said)


def test_a_study_that_was_deleted_is_unknown(settings):
    deleted = settings.model_copy(update={"experiment": "deleted"})
    MlflowTracker.begin(deleted, "x").log_tags({KIND_TAG: "training"})
    client = connect(deleted)
    client.delete_experiment(client.get_experiment_by_name("deleted").experiment_id)
    with pytest.raises(InputError, match="study = deleted: no experiment of this name"):
        read_study(deleted, said)


def test_a_study_without_a_training_says_what_makes_one(settings):
    empty = settings.model_copy(update={"experiment": "preprocessing alone"})
    with pytest.raises(InputError, match=r"no training has begun yet; run jobs/train\.py"):
        read_study(empty, said)


def test_numbers_in_names_are_in_the_order_of_numbers(settings):
    seeds = settings.model_copy(update={"experiment": "seeds"})
    for name in ("seed10", "seed9", "a2b", "seed", "²"):
        MlflowTracker.begin(seeds, name).log_tags({KIND_TAG: "training"})
    assert [run.name for run in read_study(seeds, said).runs] == ["a2b", "seed", "seed9", "seed10", "²"]


def test_runs_of_one_name_are_all_there_the_oldest_first(settings):
    twice = settings.model_copy(update={"experiment": "twice"})
    for _ in range(2):
        MlflowTracker.begin(twice, "same").log_tags({KIND_TAG: "training"})
    first, second = read_study(twice, said).runs
    assert first.started_ms <= second.started_ms
    assert first.run_id != second.run_id
