import pytest
import torch
from torch import nn

from models.layers import LocalResponseNorm


def directly(maps, n, k, alpha, beta):
    """Krizhevsky et al. 2012, section 3.3, as it is printed: i from 0, maps N, neighbours j."""
    N, result = maps.shape[1], torch.empty_like(maps)
    for i in range(N):
        total = torch.zeros_like(maps[:, 0])
        for j in range(max(0, i - n // 2), min(N - 1, i + n // 2) + 1):
            total += maps[:, j] ** 2
        result[:, i] = maps[:, i] / (k + alpha * total) ** beta
    return result


@pytest.mark.parametrize("channels", [1, 3, 5, 12])
@pytest.mark.parametrize(("n", "k", "alpha", "beta"), [(5, 2.0, 1e-4, 0.75), (3, 1.0, 0.5, 0.6), (1, 1.0, 0.5, 0.5)])
def test_response_normalisation_is_the_papers_sum(channels, n, k, alpha, beta):
    maps = 30 * torch.randn(2, channels, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(LocalResponseNorm(n, k, alpha, beta)(maps), directly(maps, n, k, alpha, beta))


def test_alpha_is_not_divided_by_n_as_pytorchs_is():
    maps = 100 * torch.randn(1, 16, 2, 2, generator=torch.Generator().manual_seed(0))
    ours = LocalResponseNorm()(maps)
    torch.testing.assert_close(ours, nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2.0)(maps))
    assert not torch.allclose(ours, nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2.0)(maps), rtol=0.01)


def test_its_gradient_is_that_of_the_formula():
    maps = torch.randn(1, 7, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(LocalResponseNorm(alpha=0.3), maps)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_what_is_too_large_to_be_squared_in_16_bits_is_normalised_as_in_64(dtype):
    maps = (1000 * torch.randn(1, 8, 2, 2, generator=torch.Generator().manual_seed(0))).to(dtype)
    given = LocalResponseNorm()(maps)
    assert given.dtype == dtype
    torch.testing.assert_close(given.double(), directly(maps.double(), 5, 2.0, 1e-4, 0.75), rtol=0.005, atol=1e-3)


def test_under_autocast_large_maps_are_normalised_as_without_it():
    layers, images = nn.Sequential(nn.Conv2d(1, 8, 1), LocalResponseNorm()), torch.full((1, 1, 2, 2), 5000.0)
    with torch.autocast("cpu", torch.float16):
        normalised = layers(images)
    assert normalised.dtype == torch.float16
    torch.testing.assert_close(normalised.float(), layers(images), rtol=0.01, atol=1e-3)
