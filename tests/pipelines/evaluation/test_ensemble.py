import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from pipelines.config import InputError
from pipelines.dataset import columns
from pipelines.evaluation.ensemble import average, errors, read_members
from pipelines.evaluation.predictions import PredictionWriter

IMAGES, CLASSES = 40, 7
RUNS = ["a", "b", "c"]


@pytest.fixture
def labels():
    return torch.from_numpy(np.random.default_rng(9).integers(CLASSES, size=IMAGES))


@pytest.fixture
def probabilities():
    draws = np.random.default_rng(0)
    return {run: torch.from_numpy(draws.dirichlet([0.3] * CLASSES, IMAGES).astype(np.float32)) for run in RUNS}


@pytest.fixture
def folder(tmp_path, labels, probabilities):
    for run in RUNS:
        write(tmp_path / "predictions", run, labels, probabilities[run])
    return tmp_path / "predictions"


def write(folder, run, labels, probabilities, digest="digest", workers=2):
    """As `workers` workers would, one after another: rank 0 last, since it is the one that publishes."""
    keys = [f"key{number}" for number in range(len(labels))]
    writers = [PredictionWriter(folder, run, digest, rank, lambda: None) for rank in range(workers)]
    for writer in writers:
        writer.__enter__()
    for rank, writer in reversed(list(enumerate(writers))):
        writer.write(keys[rank::workers], labels[rank::workers], probabilities[rank::workers])
        writer.__exit__(None)


def top_k_error(probabilities, labels, k):
    return float((probabilities.topk(k).indices != labels[:, None]).all(1).double().mean())


def test_predictions_read_back_as_they_were_written(folder, labels, probabilities):
    table = pq.read_table(folder / "a", schema=columns.PREDICTIONS)
    assert table.num_rows == IMAGES
    for row in table.to_pylist():
        number = int(row["key"].removeprefix("key"))
        assert row["label"] == labels[number]
        assert row["probabilities"] == pytest.approx(probabilities["a"][number].tolist())


def test_writing_again_replaces_what_was_there(folder, labels, probabilities):
    write(folder, "a", labels, probabilities["b"], workers=1)
    assert pq.read_table(folder / "a").num_rows == IMAGES
    assert [path.name for path in (folder / "a").iterdir()] == ["part-00000.parquet"]


def test_a_failure_while_writing_keeps_what_was_there(folder, labels):
    before = sorted(path.name for path in (folder / "a").iterdir())
    with (
        pytest.raises(RuntimeError, match="lost"),
        PredictionWriter(folder, "a", "digest", 0, lambda: None),
    ):
        raise RuntimeError("lost")
    assert sorted(path.name for path in (folder / "a").iterdir()) == before


def test_the_errors_of_members_are_those_of_numpy(spark, folder, labels, probabilities):
    found = {error.run: error for error in errors(read_members(spark, folder, RUNS))}
    for run in RUNS:
        assert found[run].top1 == pytest.approx(top_k_error(probabilities[run], labels, 1))
        assert found[run].top5 == pytest.approx(top_k_error(probabilities[run], labels, 5))
        assert found[run].images == IMAGES


def test_the_ensemble_is_the_average_of_its_members(spark, folder, labels, probabilities):
    ensemble = average(read_members(spark, folder, RUNS), "ensemble").cache()
    expected = torch.stack(list(probabilities.values())).mean(0)
    for row in ensemble.collect():
        assert row.probabilities == pytest.approx(expected[int(row.key.removeprefix("key"))].tolist(), abs=1e-6)
    (error,) = errors(ensemble)
    assert error.run == "ensemble"
    assert error.images == IMAGES
    assert error.top1 == pytest.approx(top_k_error(expected, labels, 1))
    assert error.top5 == pytest.approx(top_k_error(expected, labels, 5))


def test_a_member_without_predictions_is_named(spark, folder):
    with pytest.raises(InputError, match=r"no predictions of run d; make them with jobs/evaluate\.py runs=\[d\]"):
        read_members(spark, folder, ["a", "d"])


def test_a_member_that_lacks_an_image_is_refused(spark, folder, labels, probabilities):
    write(folder, "c", labels[:-1], probabilities["c"][:-1])
    with pytest.raises(InputError, match="run c predicts 39 of 40 images"):
        read_members(spark, folder, RUNS)


def test_members_on_different_datasets_are_refused(spark, folder, labels, probabilities):
    write(folder, "c", labels, probabilities["c"], digest="another")
    with pytest.raises(InputError, match="different datasets"):
        read_members(spark, folder, RUNS)


@pytest.mark.parametrize(("runs", "message"), [(["a"], "at least two runs, found 1"), (["a", "a"], "listed twice")])
def test_too_few_or_repeated_members_are_refused(spark, folder, runs, message):
    with pytest.raises(InputError, match=message):
        read_members(spark, folder, runs)
