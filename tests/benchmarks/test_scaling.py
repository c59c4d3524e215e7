"""The formula of docs/scaling.md."""

from dataclasses import replace

import pytest

from benchmarks.scaling import Gradient, Links, buckets, efficiency, gradients, layers_of, synchronised_s
from pipelines.training.gradients import BUCKET_BYTES

LINKS = Links(gpus_per_host=4, host_bytes_per_s=1e9, inside_bytes_per_s=1e10, latency_s=1e-5, control_latency_s=0.0)


@pytest.mark.parametrize(
    ("gpus", "seconds"),
    [
        (1, 0.0),
        (2, 2 * 1 / 2 * 0.1 + 2 * 1e-5),  # within a host
        (4, 2 * 3 / 4 * 0.1 + 6 * 1e-5),
        (8, 2 * 7 / 8 * 1.0 + 14 * 1e-5),  # the hosts' links are the slowest
        (512, 2 * 511 / 512 * 1.0 + 1022 * 1e-5),
    ],
)
def test_a_ring_sends_almost_everything_twice_over_its_slowest_link(gpus, seconds):
    assert LINKS.allreduce_s(1e9, gpus) == pytest.approx(seconds)


@pytest.mark.parametrize(("gpus", "rounds"), [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (512, 9), (513, 10)])
def test_workers_agree_in_rounds_that_grow_with_the_logarithm_of_their_number(gpus, rounds):
    links = replace(LINKS, control_latency_s=1.0)
    assert links.agreement_s(gpus) == rounds
    assert replace(links, ring_agreement=True).agreement_s(gpus) == 2 * (gpus - 1)
    late = synchronised_s([Gradient(0.0, 1.0)], 1.0, links, gpus) - synchronised_s(
        [Gradient(0.0, 1.0)], 1.0, LINKS, gpus
    )
    assert late == pytest.approx(rounds)


def test_gradients_are_ready_from_the_last_layer_to_the_first_as_their_arithmetic_is_done():
    ready = gradients([(10, 300), (0, 0), (20, 100)], step_s=6.0)
    assert ready == [Gradient(80, pytest.approx(2 + 4 * 0.25)), Gradient(40, pytest.approx(6.0))]


def test_one_gpu_waits_for_nobody():
    assert efficiency([Gradient(1e12, 1.0)], 1.0, LINKS, 1) == 1


def test_what_is_sent_beside_the_backward_pass_costs_nothing_and_the_last_bucket_is_left_over():
    hidden, last = Gradient(BUCKET_BYTES, 0.2), Gradient(1e6, 1.0)
    assert synchronised_s([hidden], 1.0, LINKS, 8) == 1.0
    assert synchronised_s([hidden, last], 1.0, LINKS, 8) == pytest.approx(1.0005 + LINKS.allreduce_s(1e6, 8))


def test_a_bucket_is_ready_with_its_last_gradient_and_a_large_gradient_has_one_of_its_own():
    half, large = BUCKET_BYTES / 2, 3.0 * BUCKET_BYTES
    ready = [Gradient(half, 0.1), Gradient(half, 0.2), Gradient(1, 0.3), Gradient(large, 0.4), Gradient(half, 0.5)]
    assert buckets(ready) == [(2 * half, 0.2), (1, 0.3), (large, 0.4), (half, 0.5)]
    assert buckets(ready, bits=16) == [(half, 0.2), (0.5, 0.3), (large / 2, 0.4), (half / 2, 0.5)]


def test_one_bucket_travels_after_another():
    each_s = 0.0005 + LINKS.allreduce_s(1e7, 8)
    assert synchronised_s([Gradient(1e7, 0.5)] * 3, 0.5, LINKS, 8) == pytest.approx(0.5 + 3 * each_s)


def test_a_step_of_half_the_time_on_the_same_links_is_the_harder_one_to_hide():
    layers = layers_of("vgg_d")
    slow, fast = (efficiency(buckets(gradients(layers, step_s)), step_s, LINKS, 64) for step_s in (0.8, 0.4))
    assert fast < slow < 1


def test_all_parameters_of_the_network_are_sent():
    assert sum(gradient.size_bytes for gradient in gradients(layers_of("vgg_d"), 1.0)) == 4 * 138_357_544
