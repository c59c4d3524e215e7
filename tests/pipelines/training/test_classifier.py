import pytest
import torch

from models.heads import Head, main_logits
from pipelines.config import InputError, ModelSettings
from pipelines.training.checkpoint import Checkpoint
from pipelines.training.classifier import make_classifier, restore_classifier


class Statistics:
    mean, std = [0.3], [0.4]


class Dataset:
    """What a classifier asks of a manifest."""

    classes, channels, statistics, digest = ("a", "b", "c"), 1, Statistics, "d"


def made(name="fully_connected", input_size=(8, 6), **options):
    return make_classifier(ModelSettings(name=name, options=options), Dataset, input_size)


def test_the_network_is_for_the_datasets_classes_channels_and_image_size_with_the_options():
    classifier = made(hidden=[7])
    assert [tuple(layer.shape) for layer in classifier.parameters()] == [(7, 48), (7,), (3, 7), (3,)]
    assert classifier(torch.zeros(2, 8, 6, 1, dtype=torch.uint8)).shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "size", "options", "message"),
    [
        (
            "fully_connectd",
            (8, 8),
            {},
            "model.name = 'fully_connectd': no such network; .* did you mean fully_connected",
        ),
        ("fully_connected", (8, 8), {"hiden": [3]}, "model.options.hiden: .* did you mean hidden"),
        (
            "vgg_a",
            (16, 16),
            {},
            r"vgg_a: .* reach pool5, .* 32 x 32 \(change their size with loader.train_transforms\)",
        ),
    ],
)
def test_what_cannot_be_built_is_the_users_mistake(name, size, options, message):
    with pytest.raises(InputError, match=message):
        made(name, size, **options)


def test_a_checkpoint_brings_options_and_size_back():
    trained = made(hidden=[7])
    about = {
        "settings": {"model": {"name": "fully_connected", "options": {"hidden": [7]}}},
        "dataset_digest": "d",
        "input_size": [8, 6],
    }
    checkpoint = Checkpoint(1, 1, [0.0] * 3, trained.state_dict(), {}, [], None, about)
    again = restore_classifier(checkpoint, Dataset, "some run")
    images = torch.randint(0, 256, (2, 8, 6, 1), dtype=torch.uint8)
    assert torch.equal(again.eval()(images), trained.eval()(images))


@pytest.mark.parametrize("average", [False, True])
def test_a_checkpoint_gives_its_weights_or_their_average(average):
    weights, averaged = made(hidden=[7]), made(hidden=[7])
    settings = {"model": {"name": "fully_connected", "options": {"hidden": [7]}}}
    about = {"settings": settings, "dataset_digest": "d", "input_size": [8, 6]}
    checkpoint = Checkpoint(1, 1, [0.0] * 3, weights.state_dict(), {}, [], averaged.state_dict(), about)
    restored = restore_classifier(checkpoint, Dataset, "some run", average)
    expected = averaged if average else weights
    torch.testing.assert_close(restored.state_dict(), expected.state_dict(), rtol=0, atol=0)


def test_the_average_of_a_training_without_one_is_refused():
    settings = {"model": {"name": "fully_connected"}}
    about = {"settings": settings, "dataset_digest": "d", "input_size": [8, 6]}
    checkpoint = Checkpoint(1, 1, [0.0] * 3, made().state_dict(), {}, [], None, about)
    with pytest.raises(InputError, match="some run was trained without ema_decay"):
        restore_classifier(checkpoint, Dataset, "some run", average=True)


def test_auxiliary_heads_are_there_in_training_alone():
    classifier = made("googlenet", (80, 80))
    images = torch.randint(0, 256, (2, 80, 80, 1), dtype=torch.uint8)
    with torch.no_grad():
        heads = classifier.train()(images)
        logits = classifier.eval()(images)
    assert [(type(head), head.weight, head.logits.shape) for head in heads] == [
        (Head, w, (2, 3)) for w in (1, 0.3, 0.3)
    ]
    assert main_logits(logits) is logits
