from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import models
from models.classifier import Classifier
from pipelines.config import InputError
from pipelines.training.recomputing import recompute_blocks


def classifier(name, size=(32, 32), **options):
    torch.manual_seed(0)
    return Classifier(models.create(name, 3, 1, size, **options), [0.5], [0.25])


def step(model, size=(32, 32)):
    torch.manual_seed(1)
    images = torch.randint(0, 256, (4, *size, 1), dtype=torch.uint8)
    cross_entropy(model(images), torch.tensor([0, 1, 2, 0])).backward()


@pytest.mark.parametrize(
    ("name", "options"),
    [("vgg_a", {"batch_norm": True}), ("vgg_c", {}), ("resnet20", {}), ("resnet50", {}), ("plain18", {})],
)
def test_gradients_running_statistics_and_names_are_those_of_the_network_as_it_was(name, options):
    plain = classifier(name, **options)
    ours = deepcopy(plain)
    recompute_blocks(ours, name)
    for model in (plain, ours):
        step(model)
    assert list(ours.state_dict()) == list(plain.state_dict())
    torch.testing.assert_close(ours.state_dict(), plain.state_dict(), rtol=0, atol=0)
    gradients = [[parameter.grad for parameter in model.parameters()] for model in (ours, plain)]
    torch.testing.assert_close(*gradients)


def test_blocks_are_computed_a_second_time_in_training_alone():
    model = classifier("resnet20")
    recompute_blocks(model, "resnet20")
    calls = []
    model.network.conv2_x[0].branch.register_forward_hook(lambda *_: calls.append(1))
    step(model)
    assert len(calls) == 2
    model.eval()
    step(model)
    assert len(calls) == 3


def test_statistics_are_followed_again_afterwards():
    model = classifier("resnet20")
    recompute_blocks(model, "resnet20")
    for _ in range(2):
        step(model)
    counts = {int(layer.num_batches_tracked) for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)}
    assert counts == {2}


def test_a_network_of_another_family_is_refused():
    with pytest.raises(
        InputError, match=r"activation_checkpointing = true is for VGG and ResNet .* alexnet is neither"
    ):
        recompute_blocks(classifier("alexnet", (224, 224)), "alexnet")
