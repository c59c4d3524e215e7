"""Weights of one training as the first ones of another."""

import pytest
import torch

import models
from pipelines.config import InputError, ModelSettings
from pipelines.training.checkpoint import Checkpoint
from pipelines.training.starting import start_from


def network(name, classes=3, size=32, **options):
    return models.create(name, classes, 1, size, **options)


def trained(name, made):
    weights = {f"network.{key}": weight.clone() for key, weight in made.state_dict().items()}
    about = {"settings": {"model": {"name": name}}}
    return Checkpoint(0, 0, [], weights | {"mean": torch.ones(1)}, {}, [], None, about)


def started(name, made, source, source_name):
    return start_from(made, ModelSettings(name=name), trained(source_name, source), "some-run")


def equal_keys(made, source):
    theirs = source.state_dict()
    return {key for key, weight in made.state_dict().items() if key in theirs and torch.equal(weight, theirs[key])}


def test_the_same_network_takes_every_weight():
    ours, source = network("lenet5_modern"), network("lenet5_modern")
    assert started("lenet5_modern", ours, source, "lenet5_modern") == []
    assert equal_keys(ours, source) == set(ours.state_dict())


@pytest.mark.parametrize(
    ("name", "heads"),
    [
        ("resnet20", {"fc"}),
        ("lenet5_modern", {"output"}),
        ("googlenet", {"classifier.fc", "auxiliary.inception_4a.fc", "auxiliary.inception_4d.fc"}),
    ],
)
def test_for_other_classes_what_scores_them_stays_fresh(name, heads):
    size = 224 if name == "googlenet" else 32
    ours, source = network(name, classes=5, size=size), network(name, classes=3, size=size)
    fresh = started(name, ours, source, name)
    assert {key.rpartition(".")[0] for key in fresh} == heads
    assert equal_keys(ours, source) == set(ours.state_dict()) - set(fresh)


def test_a_deeper_vgg_takes_of_a_what_its_paper_takes():
    ours, source = network("vgg_b"), network("vgg_a")
    fresh = started("vgg_b", ours, source, "vgg_a")
    assert {key.partition(".")[0] for key in fresh} == {
        *("conv1_2", "conv2_2", "conv4_1", "conv4_2", "conv5_1", "conv5_2")
    }


@pytest.mark.parametrize(
    ("ours", "source", "message"),
    [
        (("lenet5_modern", {}), ("resnet20", {}), "some-run: it is of resnet20, and this trains lenet5_modern"),
        (("vgg_a", {}), ("vgg_b", {}), "it is of vgg_b, and this trains vgg_a"),
        (("alexnet", {"size": 227}), ("alexnet", {"size": 259}), r"fc6.weight is \(4096, \d+\) there .* same size"),
        (("vgg_a", {}), ("vgg_a", {"batch_norm": True}), "bn1_1.bias is in one of the two networks alone"),
        (("vgg_b", {"classes": 5}), ("vgg_a", {}), r"fc8.weight is \(3, 4096\) in A"),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_nothing_is_taken(ours, source, message):
    made = network(ours[0], **ours[1])
    before = {key: weight.clone() for key, weight in made.state_dict().items()}
    with pytest.raises(InputError, match=f"start_from = .*{message}"):
        started(ours[0], made, network(source[0], **source[1]), source[0])
    assert all(torch.equal(weight, before[key]) for key, weight in made.state_dict().items())
