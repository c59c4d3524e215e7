"""From a network's predictions to an evaluation: every image once, over all workers, and into the prediction store."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from pipelines.evaluation.metrics import Prediction, SumOverWorkers, label_ranks
from pipelines.evaluation.mistakes import Mistake, Worst
from pipelines.evaluation.outcomes import Floats, Outcomes
from pipelines.evaluation.tally import Evaluation, Tally

Store = Callable[[list[str], Floats, Outcomes], None]
"""Takes keys, probabilities float32 (N, classes) and outcomes of this worker's images, batch by batch."""


def evaluate(
    predictions: Iterable[Prediction],
    classes: int,
    worst: int,
    sum_over_workers: SumOverWorkers,
    gather: Callable[[bytes], list[bytes]],
    store: Store,
) -> tuple[Evaluation, list[Mistake]]:
    """The evaluation of this worker's predictions and all other workers', and the `worst` mistakes among them."""
    tally, mistakes = Tally(classes), Worst(worst)
    for keys, labels, logits in predictions:
        probabilities, seen = probabilities_and_outcomes(logits, labels)
        tally.add(seen)
        mistakes.add(keys, seen)
        store(keys, probabilities, seen)
    sums = sum_over_workers(torch.from_numpy(tally.sums)).numpy()
    return Evaluation.of(sums, classes), Worst.of_all(worst, gather(mistakes.to_bytes())).mistakes


def probabilities_and_outcomes(logits: Tensor, labels: Tensor) -> tuple[Floats, Outcomes]:
    """Of logits (N, classes) and labels (N,), on the host; as `outcomes.outcomes_of`, but before any rounding."""
    logits = logits.float()
    ranks = label_ranks(logits, labels)
    others = logits.scatter(1, labels[:, None], -torch.inf)
    predicted = torch.where(ranks == 0, labels, others.argmax(1))
    log_probabilities = logits.log_softmax(1)
    losses = -log_probabilities.gather(1, labels[:, None]).squeeze(1)
    probabilities: Floats = log_probabilities.exp().cpu().numpy()
    return probabilities, Outcomes(
        labels.cpu().numpy(), ranks.cpu().numpy(), predicted.cpu().numpy(), probabilities.max(1), losses.cpu().numpy()
    )
