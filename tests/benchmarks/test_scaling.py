"""The formula of docs/scaling.md."""

import pytest

from benchmarks.scaling import FUSION_BYTES, Gradient, Links, efficiency, gradients, layers_of, synchronised_s

LINKS = Links(gpus_per_host=4, host_bytes_per_s=1e9, inside_bytes_per_s=1e10, latency_s=1e-5)


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


def test_gradients_are_ready_from_the_last_layer_to_the_first_as_their_arithmetic_is_done():
    ready = gradients([(10, 300), (0, 0), (20, 100)], step_s=6.0, bytes_each=4)
    assert ready == [Gradient(80, pytest.approx(2 + 4 * 0.25)), Gradient(40, pytest.approx(6.0))]


def test_one_gpu_waits_for_nobody():
    assert efficiency([Gradient(1e12, 1.0)], 1.0, LINKS, 1) == 1


def test_what_is_sent_beside_the_backward_pass_costs_nothing_and_the_last_message_is_left_over():
    hidden, last = Gradient(1e8, 0.2), Gradient(1e6, 1.0)
    assert synchronised_s([hidden], 1.0, LINKS, 8) == 1.0
    assert synchronised_s([hidden, last], 1.0, LINKS, 8) == pytest.approx(1.0005 + LINKS.allreduce_s(1e6, 8))


def test_gradients_that_are_ready_travel_together_until_the_fusion_buffer_is_full():
    half = FUSION_BYTES / 2
    together = synchronised_s([Gradient(half, 0.5)] * 2, 0.6, LINKS, 8)
    assert together == pytest.approx(0.5005 + LINKS.allreduce_s(2 * half, 8))
    apart = synchronised_s([Gradient(half, 0.5)] * 3, 0.6, LINKS, 8)
    assert apart == pytest.approx(together + 0.0005 + LINKS.allreduce_s(half, 8))


def test_a_gradient_larger_than_the_fusion_buffer_travels_whole():
    large = 3.0 * FUSION_BYTES
    assert synchronised_s([Gradient(large, 0.0)], 0.1, LINKS, 8) == pytest.approx(0.0005 + LINKS.allreduce_s(large, 8))


def test_a_step_of_half_the_time_on_the_same_links_is_the_harder_one_to_hide():
    layers = layers_of("vgg_d")
    slow, fast = (efficiency(gradients(layers, step_s, 4), step_s, LINKS, 64) for step_s in (0.8, 0.4))
    assert fast < slow < 1


def test_all_parameters_of_the_network_are_sent():
    assert sum(gradient.size_bytes for gradient in gradients(layers_of("vgg_d"), 1.0, 4)) == 4 * 138_357_544
