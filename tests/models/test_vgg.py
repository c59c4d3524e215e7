import pytest
import torch

import models
from models.vgg import started_from_a

FIRST = {"conv1_1", "conv2_1", "conv3_1", "conv3_2"}


def state(name, **options):
    torch.manual_seed(models.names().index(name))
    return models.create(name, 3, 1, 32, **options).state_dict()


@pytest.fixture(scope="module")
def trained_a():
    return state("vgg_a")


@pytest.mark.parametrize("name", ["vgg_b", "vgg_e"])
def test_a_deeper_net_starts_with_as_first_four_convolutions_and_its_fully_connected_layers(name, trained_a):
    fresh = state(name)
    started = started_from_a(fresh, trained_a)
    assert started.keys() == fresh.keys()
    taken = {key for key in started if torch.equal(started[key], trained_a.get(key, torch.empty(0)))}
    drawn = {key.removesuffix(".weight") for key in taken if key.endswith(".weight")}
    assert drawn == FIRST | {"fc6", "fc7", "fc8"}
    assert all(torch.equal(started[key], fresh[key]) for key in fresh.keys() - taken)


def test_what_was_started_from_a_keeps_no_memory_of_as(trained_a):
    started = started_from_a(state("vgg_b"), trained_a)
    assert started["fc8.weight"].data_ptr() != trained_a["fc8.weight"].data_ptr()


def test_batch_norm_goes_with_its_convolution():
    a, deeper = (set(models.create(name, 3, 1, 32, batch_norm=True).state_dict()) for name in ("vgg_a", "vgg_b"))
    a_state = {key: torch.zeros(1) for key in a}
    started = started_from_a({key: torch.ones(1) for key in deeper}, a_state)
    taken = {key.partition(".")[0] for key, value in started.items() if not value.any()}
    assert taken == FIRST | {name.replace("conv", "bn") for name in FIRST} | {"fc6", "fc7", "fc8"}


def test_an_a_of_other_classes_or_without_batch_norm_is_refused(trained_a):
    fresh = dict(trained_a) | {"fc8.weight": torch.zeros(4, 4096)}
    with pytest.raises(ValueError, match=r"fc8.weight is \(3, 4096\) in A and is \(4, 4096\) in the network to start"):
        started_from_a(fresh, trained_a)
    with pytest.raises(ValueError, match=r"bn1_1.weight is \(1,\) in A and does not exist"):
        started_from_a(trained_a, {"bn1_1.weight": torch.zeros(1)})
