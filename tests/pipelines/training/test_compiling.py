import shutil
from copy import deepcopy

import pytest
import torch
from torch.nn.functional import cross_entropy

import models
from models.classifier import Classifier
from pipelines.config import TrainSettings


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_networks_first_step_is_the_one_of_the_network_as_it_was():
    torch.manual_seed(0)
    plain = Classifier(models.create("lenet5_modern", 10, 1, (32, 32)), [0.5], [0.25])
    compiled = deepcopy(plain)
    compiled.compile()
    images, labels = torch.randint(0, 256, (8, 32, 32, 1), dtype=torch.uint8), torch.arange(8)
    losses = [cross_entropy(model(images), labels) for model in (plain, compiled)]
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*([parameter.grad for parameter in model.parameters()] for model in (plain, compiled)))
    assert list(compiled.state_dict()) == list(plain.state_dict())


@pytest.mark.parametrize(
    "pair", [("compile", "activation_checkpointing"), ("overfit_one_batch", "synthetic_data")], ids=str
)
def test_settings_that_exclude_each_other_are_refused(pair):
    with pytest.raises(ValueError, match=r"leave one of the two out|leave it or synthetic_data"):
        TrainSettings(dataset="d", model={"name": "m"}, **dict.fromkeys(pair, True))
