import torch
from torch import nn

from pipelines.training.statistics import convert


class Other(nn.modules.batchnorm._BatchNorm):
    """Stands for Horovod's, which runs on GPUs alone."""

    def _check_input_dim(self, input):
        pass


def test_every_normalisation_becomes_the_other_class_with_the_same_parameters_and_results():
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Sequential(nn.BatchNorm2d(3, eps=0.1)))
    images = torch.randn(2, 1, 5, 5)
    before, state, parameters = model(images), model.state_dict(), list(model.parameters())
    convert(model, Other)
    assert [type(module) for module in (model[1], model[2][0])] == [Other, Other]
    assert all(one is other for one, other in zip(model.parameters(), parameters, strict=True))
    assert list(model.state_dict()) == list(state)
    assert model.state_dict()["1.running_mean"].data_ptr() == state["1.running_mean"].data_ptr()
    torch.testing.assert_close(model(images), before)
