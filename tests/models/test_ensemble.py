import torch

import models
from models.classifier import Classifier
from models.ensemble import Ensemble


def test_an_ensemble_answers_with_the_average_of_its_members():
    torch.manual_seed(0)
    members = [Classifier(models.create("lenet5_modern", 5, 1), [0.3], [0.2 + 0.1 * n]).eval() for n in range(3)]
    images, weights = torch.randint(0, 256, (4, 32, 32, 1), dtype=torch.uint8), [0.5, 0.2, 0.3]
    with torch.no_grad():
        logits = [member(images) for member in members]
        found = Ensemble(members, weights, of_logits=False)(images)
        of_logits = Ensemble(members, weights, of_logits=True)(images)
    expected = sum(weight * each.softmax(1) for weight, each in zip(weights, logits, strict=True))
    torch.testing.assert_close(found, expected)
    expected = sum(weight * each for weight, each in zip(weights, logits, strict=True)).softmax(1)
    torch.testing.assert_close(of_logits, expected)
