from dataclasses import dataclass

import pytest
import torch
from torch import nn

from pipelines.evaluation.metrics import Totals, label_ranks, predict, validate


@dataclass
class Batch:
    images: torch.Tensor
    labels: torch.Tensor
    keys: tuple[str, ...]


def batch(scores, labels):
    """The images are the scores; nn.Identity is the network. A label of -1 is padding."""
    keys = tuple("" if label < 0 else f"k{place}" for place, label in enumerate(labels))
    return Batch(torch.tensor(scores), torch.tensor(labels), keys)


def test_ranks_count_the_classes_that_score_at_least_as_high():
    scores = torch.tensor([[0.1, 0.5, 0.4], [0.1, 0.5, 0.4], [0.1, 0.5, 0.4], [1.0, 1.0, 1.0]])
    assert label_ranks(scores, torch.tensor([1, 2, 0, 0])).tolist() == [0, 1, 2, 2]


def test_a_network_that_gives_nan_is_wrong_everywhere():
    totals = Totals()
    totals.add(torch.full((3, 10), torch.nan), torch.tensor([0, 1, 2]))
    metrics = totals.metrics(lambda sums: sums)
    assert metrics["val_top1_error"] == metrics["val_top5_error"] == 1


def test_the_probabilities_of_ten_crops_are_averaged():
    torch.manual_seed(0)
    of_views = torch.randn(3, 10, 1, 1, 4)
    network = nn.Flatten()  # a view's four pixels are its scores
    ((_, _, logits),) = predict(network, [Batch(of_views, torch.tensor([0, 1, 2]), ("a", "b", "c"))])
    assert torch.allclose(logits.softmax(1), of_views.flatten(2).softmax(2).mean(1))


def test_errors_and_loss_are_averages_over_images():
    torch.manual_seed(0)
    logits, labels = torch.randn(50, 8), torch.randint(8, (50,))
    totals = Totals()
    for part in (slice(0, 7), slice(7, 30), slice(30, 50)):
        totals.add(logits[part], labels[part])
    metrics = totals.metrics(lambda sums: sums)
    top5 = logits.topk(5).indices
    assert metrics["val_top1_error"] == pytest.approx(float((logits.argmax(1) != labels).double().mean()))
    assert metrics["val_top5_error"] == pytest.approx(float((top5 != labels[:, None]).all(1).double().mean()))
    assert metrics["val_loss"] == pytest.approx(float(nn.functional.cross_entropy(logits, labels)), rel=1e-5)
    assert metrics["val_images"] == 50


def test_padding_is_not_predicted():
    seen = []
    model = nn.Identity()
    model.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    batches = [batch([[1.0, 2.0], [0.0, 0.0]], [1, -1]), batch([[0.0, 0.0]], [-1])]
    ((keys, labels, logits),) = predict(model, batches)
    assert (keys, labels.tolist(), logits.tolist(), seen) == (["k0"], [1], [[1.0, 2.0]], [1])


def test_the_sums_of_all_workers_make_the_metrics():
    metrics = validate(nn.Identity(), [batch([[2.0, 1.0]], [1])], lambda sums: sums + torch.tensor([0, 0, 0, 3]))
    assert metrics["val_images"] == 4
    assert metrics["val_top1_error"] == 0.25
