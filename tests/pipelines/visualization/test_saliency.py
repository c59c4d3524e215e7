import torch
from torch import nn

from pipelines.visualization.saliency import saliency
from tests.pipelines.visualization.networks import Graph


def test_it_is_the_magnitude_of_the_gradient_of_the_class_score():
    torch.manual_seed(0)
    network, images, labels = Graph().eval(), torch.randn(3, 3, 16, 16), torch.tensor([4, 0, 2])
    seen = saliency(network, images, labels)
    for place, label in enumerate(labels):
        pixels = images[place : place + 1].clone().requires_grad_()
        network(pixels)[0, label].backward()
        torch.testing.assert_close(seen[place], pixels.grad[0].abs().max(0).values)


def test_of_a_linear_classifier_it_is_the_weights():
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    seen = saliency(network, torch.randn(2, 1, 4, 4), torch.tensor([1, 2]))
    assert torch.equal(seen.flatten(1), network[1].weight[1:].abs())


def test_it_works_where_gradients_are_off_and_leaves_none():
    network, images = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.randn(1, 1, 2, 2)
    with torch.no_grad():
        assert saliency(network, images, torch.tensor([0])).shape == (1, 2, 2)
    assert network[1].weight.grad is None
    assert not images.requires_grad
