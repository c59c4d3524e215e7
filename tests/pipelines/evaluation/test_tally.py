"""Metrics of an evaluation, against one image after another; their sums over workers; what is stored on the way."""

import csv

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pipelines.dataset import columns
from pipelines.evaluation.evaluate import evaluate, probabilities_and_outcomes
from pipelines.evaluation.metrics import Prediction
from pipelines.evaluation.mistakes import Worst
from pipelines.evaluation.outcomes import outcomes_of
from pipelines.evaluation.predictions import PredictionWriter, Source, rounded
from pipelines.evaluation.report import write_report
from pipelines.evaluation.tally import BINS, interval

IMAGES, CLASSES = 200, 8
SOURCE = Source("run", "dense-256", "digest", "classes")


@pytest.fixture(scope="module")
def logits():
    torch.manual_seed(0)
    return 2 * torch.randn(IMAGES, CLASSES)


@pytest.fixture(scope="module")
def labels(logits):
    torch.manual_seed(1)
    return torch.where(torch.rand(IMAGES) < 0.5, logits.argmax(1), torch.randint(CLASSES, (IMAGES,)))


def predictions(logits, labels, rank, workers, batch=16):
    """What worker `rank` predicts, batch by batch."""
    mine = list(range(rank, len(labels), workers))
    for start in range(0, len(mine), batch):
        places = mine[start : start + batch]
        yield Prediction([f"k{place:03d}" for place in places], labels[places], logits[places])


def by_workers(logits, labels, workers, store=lambda *_: None):
    """What rank 0 comes to know: the others' sums and mistakes are taken down first, as Horovod would bring them."""
    sums, mistakes = [], []
    for rank in reversed(range(workers)):
        found = evaluate(
            predictions(logits, labels, rank, workers),
            CLASSES,
            5,
            lambda own: sums.append(own) or torch.stack(sums).sum(0),
            lambda own: mistakes.append(own) or mistakes,
            store,
        )
    return found


@pytest.fixture(scope="module")
def alone(logits, labels):
    return by_workers(logits, labels, 1)


def test_metrics_are_those_counted_image_by_image(alone, logits, labels):
    evaluation, _ = alone
    probabilities = logits.double().softmax(1)
    confusion, right_of = np.zeros((CLASSES, CLASSES), int), {label: [] for label in range(CLASSES)}
    losses, top5, bins = [], [], [[] for _ in range(BINS)]
    for row, label in zip(probabilities.tolist(), labels.tolist(), strict=True):
        order = sorted(range(CLASSES), key=lambda each: -row[each])
        confusion[label, order[0]] += 1
        right_of[label].append(order[0] == label)
        top5.append(label not in order[:5])
        losses.append(-np.log(row[label]))
        within = next(number for number in range(BINS) if row[order[0]] <= (number + 1) / BINS)
        bins[within].append((row[order[0]], order[0] == label))
    assert evaluation.images == IMAGES
    assert (evaluation.confusion == confusion).all()
    assert evaluation.top1_error == pytest.approx(1 - np.trace(confusion) / IMAGES)
    assert evaluation.top5_error == pytest.approx(np.mean(top5))
    assert evaluation.loss == pytest.approx(np.mean(losses), rel=1e-5)
    np.testing.assert_allclose(evaluation.class_accuracies, [np.mean(right_of[label]) for label in range(CLASSES)])
    gaps = [abs(np.sum([right - sure for sure, right in seen])) for seen in bins if seen]
    assert evaluation.calibration_error == pytest.approx(sum(gaps) / IMAGES, rel=1e-5)
    pairs = evaluation.confused_pairs(3)
    assert [images for *_, images in pairs] == sorted(confusion[~np.eye(CLASSES, dtype=bool)])[:-4:-1]
    assert all(confusion[label, predicted] == images for label, predicted, images in pairs)


@pytest.mark.parametrize("workers", [2, 3])
def test_several_workers_find_what_one_finds(alone, logits, labels, workers):
    evaluation, mistakes = by_workers(logits, labels, workers)
    assert evaluation.metrics() == pytest.approx(alone[0].metrics(), rel=1e-9)
    assert (evaluation.confusion == alone[0].confusion).all()
    assert mistakes == alone[1]


def test_the_worst_mistakes_gave_the_label_the_least_probability(alone, logits, labels):
    probabilities = logits.softmax(1)
    wrong = (logits.argmax(1) != labels).nonzero().flatten()
    of_label = probabilities[wrong, labels[wrong]]
    worst = wrong[of_label.argsort()][:5].tolist()
    assert [one.key for one in alone[1]] == [f"k{place:03d}" for place in worst]
    for one, place in zip(alone[1], worst, strict=True):
        assert (one.label, one.predicted) == (labels[place], logits[place].argmax())
        assert one.confidence == pytest.approx(float(probabilities[place].max()), rel=1e-5)
        assert np.exp(-one.loss) == pytest.approx(float(probabilities[place, labels[place]]), rel=1e-4)


def test_a_tie_is_a_mistake_in_the_confusion_too():
    logits, labels = torch.tensor([[2.0, 2.0, 0.0], [2.0, 2.0, 0.0]]), torch.tensor([0, 1])
    _, seen = probabilities_and_outcomes(logits, labels)
    assert seen.ranks.tolist() == [1, 1]
    assert seen.predicted.tolist() == [1, 0]


def test_what_spark_computes_is_what_the_network_s_worker_does(logits, labels):
    probabilities, ours = probabilities_and_outcomes(logits, labels)
    theirs = outcomes_of(probabilities, labels.numpy())
    for name in ("labels", "ranks", "predicted"):
        assert (getattr(ours, name) == getattr(theirs, name)).all()
    np.testing.assert_allclose(theirs.confidences, ours.confidences, rtol=1e-6)
    np.testing.assert_allclose(theirs.losses, ours.losses, rtol=1e-4)


def test_a_network_that_gives_nan_is_wrong_everywhere(labels):
    evaluation, mistakes = by_workers(torch.full((IMAGES, CLASSES), torch.nan), labels, 1)
    assert evaluation.top1_error == evaluation.top5_error == 1
    assert len(mistakes) == 5


def test_the_interval_is_that_of_images_drawn_anew():
    wrong = np.arange(300) < 36
    draws = np.random.default_rng(5)
    errors = [wrong[draws.integers(300, size=300)].mean() for _ in range(4000)]
    np.testing.assert_allclose(interval(0.12, 300), np.percentile(errors, [2.5, 97.5]), atol=0.005)
    assert interval(0.12, 300) == interval(0.12, 300)
    assert interval(0.12, 300) != interval(0.12, 300, seed=1)
    assert interval(0, 300) == (0, 0)


def test_probabilities_keep_float16_s_eleven_bits_and_float32_s_range():
    draws = np.random.default_rng(2).random(5000, np.float32)
    assert (rounded(draws) == draws.astype(np.float16)).all()
    tiny = np.array([3e-30, 1.0, 0.0], np.float32)
    np.testing.assert_allclose(rounded(tiny), tiny, rtol=2**-11)


def test_stored_predictions_read_back_as_they_were(tmp_path, logits, labels):
    with PredictionWriter(tmp_path, SOURCE, 0, lambda: None) as writer:
        by_workers(logits, labels, 3, writer.write)
    table = pq.read_table(tmp_path / "run", schema=columns.PREDICTIONS)
    assert table.num_rows == len(set(table["key"].to_pylist())) == IMAGES
    assert table["probabilities"].type == pa.list_(pa.float32())  # what pandas and Spark read as numbers
    for row in table.to_pylist():
        place = int(row["key"][1:])
        assert row["label"] == labels[place]
        assert row["label_rank"] == int((logits[place] > logits[place, labels[place]]).sum())
        np.testing.assert_allclose(row["probabilities"], logits[place].softmax(0), rtol=2**-11)
        assert (row["protocol"], row["dataset_digest"], row["classes_digest"]) == ("dense-256", "digest", "classes")


def test_writing_again_replaces_what_was_there_and_failing_keeps_it(tmp_path, logits, labels):
    for _ in range(2):
        with PredictionWriter(tmp_path, SOURCE, 0, lambda: None) as writer:
            by_workers(logits, labels, 1, writer.write)
    with pytest.raises(RuntimeError, match="lost"), PredictionWriter(tmp_path, SOURCE, 0, lambda: None):
        raise RuntimeError("lost")
    assert pq.read_table(tmp_path / "run").num_rows == IMAGES


@pytest.mark.parametrize("classes", [8, 50])
def test_a_report_has_a_table_of_every_class_and_pictures(tmp_path, alone, logits, labels, classes):
    wide = torch.nn.functional.pad(logits, (0, classes - CLASSES), value=-50.0)
    evaluation, mistakes = evaluate(
        predictions(wide, labels, 0, 1), classes, 5, lambda sums: sums, lambda own: [own], lambda *_: None
    )
    names = [f"class {number} costs $1" for number in range(classes)]
    image = np.zeros((6, 7, 1), np.uint8)
    files = write_report(tmp_path, evaluation, mistakes, names, lambda keys: dict.fromkeys(list(keys)[:3], image))
    assert {path.name for path in files} == {path.name for path in tmp_path.iterdir()}
    assert {path.stem for path in files if path.suffix == ".png"} == {"confusion", "reliability", "mistakes"}
    rows = list(csv.DictReader((tmp_path / "classes.csv").open()))
    assert [row["name"] for row in rows] == names
    assert sum(int(row["images"]) for row in rows) == IMAGES
    assert float(rows[0]["top1_accuracy"]) == pytest.approx(alone[0].class_accuracies[0], abs=1e-6)


def test_no_mistakes_are_shown_as_none():
    worst = Worst(4)
    worst.add(["k"], outcomes_of(np.array([[0.9, 0.1]], np.float32), np.array([0])))
    assert Worst.of_all(4, [worst.to_bytes()]).mistakes == []
