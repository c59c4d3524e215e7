from itertools import product

import torch

from pipelines.training.randomness import seed_step


def drawn(seed, step, rank):
    seed_step(seed, step, rank, torch.device("cpu"))
    return torch.rand(8)


def test_each_step_and_each_worker_draws_its_own_and_the_same_again():
    places = list(product((0, 1), (0, 1, 2), (0, 1)))
    draws = [drawn(*place) for place in places]
    assert len({tuple(draw.tolist()) for draw in draws}) == len(places)
    for place, draw in zip(reversed(places), reversed(draws), strict=True):
        assert torch.equal(drawn(*place), draw)
