import gc
import weakref

import pytest
import torch
from torch import nn

from pipelines.training.gradients import average, buckets_of


class Network(nn.Module):
    """Its layers differ in size, order of memory and type, and one of them may have no part in the loss."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.middle = nn.Linear(4, 5).double()
        self.unused = nn.Linear(2, 2).double()
        self.last = nn.Linear(5, 2).double()

    def forward(self, images):
        return self.last(self.middle(self.frozen(self.first(images).mean((2, 3))).double()))


class Wire:
    """Stands for two workers of which the other has the same gradients."""

    def __init__(self):
        self.sent, self.awaited = [], []

    def send(self, tensor, name):
        self.sent.append((name, tensor.clone()))

        def exchange():
            self.awaited.append(name)
            tensor.mul_(2)

        return exchange

    @property
    def names(self):
        return [name for name, _ in self.sent]


def backward(model, seed=0):
    torch.manual_seed(seed)
    model(torch.randn(2, 3, 5, 5)).square().sum().backward()


def gradients(model):
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def expected(passes=1):
    model = Network()
    for number in range(passes):
        backward(model, number)
    return {name: 2 * gradient for name, gradient in gradients(model).items()}


@pytest.mark.parametrize("bucket_bytes", [0, 100, 10**6])
@pytest.mark.parametrize("passes", [1, 3])
def test_each_gradient_becomes_what_the_exchange_makes_of_it(bucket_bytes, passes):
    model, wire = Network(), Wire()
    buckets = buckets_of(model.parameters(), passes, wire.send, bucket_bytes=bucket_bytes)
    for _ in range(2):  # steps
        model.zero_grad()
        for number in range(passes):
            backward(model, number)
        average(buckets)
        unused = {f"unused.{name}": torch.zeros_like(tensor) for name, tensor in model.unused.named_parameters()}
        assert gradients(model).keys() == (expected() | unused).keys()
        torch.testing.assert_close(gradients(model), expected(passes) | unused)
        assert model.first.weight.grad.stride() == model.first.weight.stride()
    assert len(wire.sent) == len(wire.awaited) == 2 * len(buckets)


SINGLE, HALF, DOUBLE = torch.float32, torch.float16, torch.float64
LAYERS = [(1, SINGLE), (1, SINGLE), (2, DOUBLE), (2, DOUBLE), (1000, SINGLE), (100, SINGLE), (99, SINGLE), (1, SINGLE)]


@pytest.mark.parametrize(
    ("sent_as", "buckets"),
    [
        (None, [(100, SINGLE), (100, SINGLE), (1000, SINGLE), (4, DOUBLE), (2, SINGLE)]),
        (HALF, [(100, HALF), (100, HALF), (1000, HALF), (4, HALF), (2, HALF)]),
    ],
)
def test_buckets_are_filled_from_the_last_layer_on_and_hold_one_type(sent_as, buckets):
    parameters, wire = [nn.Parameter(torch.zeros(size, dtype=dtype)) for size, dtype in LAYERS], Wire()
    average(buckets_of(parameters, 1, wire.send, sent_as, bucket_bytes=400))
    assert [(len(sent), sent.dtype) for _, sent in wire.sent] == buckets
    assert len(set(wire.names)) == len(buckets)


def test_a_bucket_is_sent_when_the_last_backward_pass_has_made_the_last_of_its_gradients():
    model, wire = Network(), Wire()
    buckets = buckets_of(model.parameters(), 2, wire.send, bucket_bytes=0)
    backward(model)
    assert not wire.sent
    backward(model)
    assert len(wire.sent) == len(buckets) - len(list(model.unused.parameters()))
    assert not gradients(model)  # their memory is free again
    average(buckets)
    assert len(wire.sent) == len(buckets)
    assert sorted(wire.names) == sorted(wire.awaited)


def test_gradients_on_their_way_as_16_bits_come_back_as_what_they_were():
    model, wire = Network(), Wire()
    buckets = buckets_of(model.parameters(), 1, wire.send, dtype=torch.float16)
    backward(model)
    average(buckets)
    assert {tensor.dtype for _, tensor in wire.sent} == {torch.float16}
    for name, gradient in expected().items():
        ours = model.get_parameter(name).grad
        assert ours.dtype == gradient.dtype
        torch.testing.assert_close(ours, gradient, rtol=2e-3, atol=1e-4)


def test_gradients_that_are_sent_take_no_memory_of_their_own():
    model = Network()
    buckets = buckets_of(model.parameters(), 1, Wire().send)
    backward(model)
    average(buckets)
    storages = {gradient.untyped_storage().data_ptr() for gradient in gradients(model).values()}
    assert len(storages) == len(buckets)


def test_a_network_that_is_no_longer_used_is_freed_with_its_buckets():
    model = Network()
    weight = weakref.ref(model.first.weight)
    buckets = buckets_of(model.parameters(), 1, Wire().send)
    backward(model)
    average(buckets)
    del model, buckets
    gc.collect()
    assert weight() is None
