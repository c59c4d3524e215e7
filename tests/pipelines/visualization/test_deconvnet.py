import pytest
import torch
from torch import nn
from torch.nn import functional as F

from models.layers import LocalResponseNorm
from pipelines.visualization.deconvnet import project
from pipelines.visualization.layers import outputs_of
from tests.pipelines.visualization.networks import Graph, black_images, blob_finder


def project_one(network, image, layer, feature_map, row, column):
    return project(network, image[None], layer, torch.tensor([feature_map]), torch.tensor([[row, column]]))[0]


@pytest.mark.parametrize(("stride", "padding", "groups"), [(1, 0, 1), (2, 1, 1), (3, 2, 2)])
def test_of_a_convolution_it_is_the_transposed_convolution(stride, padding, groups):
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 6, 5, stride=stride, padding=padding, groups=groups, bias=False)
    image = torch.randn(1, 4, 17, 17)
    output = conv(image).detach()
    alone = torch.zeros_like(output)
    alone[0, 3, 2, 1] = output[0, 3, 2, 1]
    left_over = [17 - ((side - 1) * stride - 2 * padding + 5) for side in output.shape[2:]]
    expected = F.conv_transpose2d(
        alone, conv.weight, stride=stride, padding=padding, groups=groups, output_padding=left_over
    )
    assert torch.equal(project_one(nn.Sequential(conv), image[0], "0", 3, 2, 1), expected[0])


def test_a_bias_takes_no_part_on_the_way_back():
    with_bias, without = nn.Conv2d(1, 2, 3), nn.Conv2d(1, 2, 3, bias=False)
    without.weight = with_bias.weight
    image = torch.randn(1, 8, 8)
    one = project_one(nn.Sequential(with_bias), image, "0", 1, 2, 2) / with_bias(image)[1, 2, 2]
    other = project_one(nn.Sequential(without), image, "0", 1, 2, 2) / without(image)[1, 2, 2]
    torch.testing.assert_close(one, other)


def test_switches_put_a_maximum_back_where_it_came_from():
    torch.manual_seed(0)
    image = torch.randperm(36).view(1, 6, 6).float()
    expected = torch.zeros_like(image)
    window = image[0, 2:4, 4:6]
    at = window.argmax()
    expected[0, 2 + at // 2, 4 + at % 2] = window.max()
    assert torch.equal(project_one(nn.Sequential(nn.MaxPool2d(2)), image, "0", 0, 1, 2), expected)


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("of_modules", [False, True])
def test_rectifiers_rectify_the_signal_and_not_the_image(inplace, of_modules):
    """Two 1 x 1 convolutions: the signal that comes back is the second's weight, the image decides nothing."""
    first, second = nn.Conv2d(1, 2, 1, bias=False), nn.Conv2d(2, 1, 1, bias=False)
    with torch.no_grad():
        first.weight[:] = torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)
        second.weight[:] = torch.tensor([-5.0, 7.0]).view(1, 2, 1, 1)

    class Functions(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = first, second

        def forward(self, x):
            return self.second(F.relu(self.first(x), inplace=inplace))

    modules = nn.Sequential()
    modules.add_module("first", first)
    modules.add_module("relu", nn.ReLU(inplace))
    modules.add_module("second", second)
    network = modules if of_modules else Functions()
    for pixel in (2.0, -2.0):
        image = torch.full((1, 1, 1), pixel)
        activation = network(image[None]).item()
        expected = 3 * max(7 * activation, 0) + max(-5 * activation, 0)
        assert float(project_one(network, image, "second", 0, 0, 0)) == expected


def test_batch_norm_goes_back_by_its_scale():
    norm = nn.BatchNorm2d(2, eps=0).eval()
    norm.running_mean[:], norm.running_var[:] = 5.0, 4.0
    with torch.no_grad():
        norm.weight[:] = torch.tensor([3.0, -1.0])
    image = torch.randn(2, 3, 3)
    projected = project_one(nn.Sequential(norm), image, "0", 1, 0, 2)
    assert projected[1, 0, 2] == norm(image[None])[0, 1, 0, 2] * (-1 / 2)
    assert projected.count_nonzero() == 1


@pytest.mark.parametrize("kind", [nn.LocalResponseNorm, LocalResponseNorm])
def test_local_response_norm_goes_back_by_its_divisor_alone(kind):
    torch.manual_seed(0)
    lrn = kind(3, alpha=2.0, beta=0.75, k=1.5)
    image = torch.randn(5, 4, 4).relu()
    assert image[2, 1, 3] > 0
    output = lrn(image[None])[0]
    projected = project_one(nn.Sequential(lrn), image, "0", 2, 1, 3)
    divisor = image[2, 1, 3] / output[2, 1, 3]
    torch.testing.assert_close(projected[2, 1, 3], output[2, 1, 3] / divisor)
    assert projected.count_nonzero() == 1


def test_a_reconstruction_points_at_the_patch_that_fired():
    image = black_images((14, 3)).permute(0, 3, 1, 2) / 255
    projected = project_one(blob_finder(), image[0], "pool", 0, 8, 2)  # where 2 x 2 pooling leaves row 16, column 5
    inside = torch.zeros(24, 24, dtype=torch.bool)
    inside[14:19, 3:8] = True
    assert projected[0][inside].min() > 0
    assert projected[0][~inside].abs().max() == 0


def test_any_graph_is_projected_and_left_as_it_was():
    torch.manual_seed(0)
    network, images = Graph().eval(), torch.randn(4, 3, 16, 16)
    before = network(images)
    for name in ("stem", "norm", "relu", "pool", "left", "output"):
        where = torch.zeros(4, 2, dtype=torch.int64)
        projected = project(network, images, name, torch.tensor([0, 1, 2, 3]), where)
        assert projected.shape == images.shape
        assert projected.isfinite().all()
    assert torch.equal(network(images), before)
    assert not images.requires_grad
    assert all(parameter.grad is None for parameter in network.parameters())


def test_an_image_is_projected_alone_as_among_others():
    torch.manual_seed(0)
    network, images = Graph().eval(), torch.randn(3, 3, 16, 16)
    with outputs_of(network, ["left"]) as outputs, torch.no_grad():
        network(images)
    maps, where = torch.tensor([3, 0, 1]), torch.tensor([[1, 2], [0, 0], [3, 3]])
    together = project(network, images, "left", maps, where)
    assert outputs["left"].shape == (3, 4, 4, 4)
    for place in range(3):
        alone = project_one(network, images[place], "left", maps[place], *where[place])
        torch.testing.assert_close(together[place], alone)
