import pytest
import torch
from torch import nn

from pipelines.training.averaging import make_average


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def moved(model, by):
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.add_(by)


def test_the_average_is_a_share_of_itself_and_the_rest_of_the_weights():
    ours, plain = model(), model()
    average = make_average(ours, 0.9)
    expected = [tensor.clone() for tensor in plain.parameters()]
    for step in range(1000, 1003):
        moved(ours, 1)
        average.follow(step)
        expected = [0.9 * a + 0.1 * w.detach() for a, w in zip(expected, ours.parameters(), strict=True)]
    torch.testing.assert_close([p.data for p in average.model.parameters()], expected)


@pytest.mark.parametrize(("step", "share"), [(0, 0.1), (9, 10 / 19), (10**6, 0.9)])
def test_it_keeps_less_of_itself_in_early_steps(step, share):
    ours = model()
    average = make_average(ours, 0.9)
    before = ours[0].weight.detach().clone()
    moved(ours, 1)
    average.follow(step)
    torch.testing.assert_close(average.model[0].weight.data, before + 1 - share)


def test_running_statistics_are_averaged_and_counts_copied():
    ours = model()
    average = make_average(ours, 0.9)
    moved(ours, 1)
    average.follow(10**6)
    torch.testing.assert_close(average.model[1].running_mean, torch.full((2,), 0.1))
    assert average.model[1].num_batches_tracked == 1


def test_training_goes_on_from_the_weights_not_from_their_average():
    ours = model()
    average = make_average(ours, 0.9)
    moved(ours, 1)
    before = [tensor.clone() for tensor in ours.state_dict().values()]
    average.follow(5)
    assert all(map(torch.equal, ours.state_dict().values(), before))
    assert not any(parameter.requires_grad for parameter in average.model.parameters())


def test_it_follows_weights_that_were_loaded():
    ours = model()
    average = make_average(ours, 0.9)
    other = model()
    moved(other, 3)
    ours.load_state_dict(other.state_dict())
    average.restart()
    torch.testing.assert_close(average.state_dict(), other.state_dict())
    moved(ours, 1)
    average.follow(10**6)
    torch.testing.assert_close(average.model[0].weight, other[0].weight + 0.1, check_stride=False)


def test_its_metrics_are_those_of_its_own_model_under_names_of_their_own():
    average = make_average(model(), 0.9)
    assert average.metrics(lambda validated: {"val_loss": float(validated is average.model)}) == {"ema_val_loss": 1.0}


def test_without_a_decay_there_is_none():
    none = make_average(model(), None)
    none.follow(0)
    none.restart()
    assert none.metrics(lambda model: {"val_loss": 1.0}) == {}
    assert none.state_dict() is None
