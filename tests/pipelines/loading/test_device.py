import weakref
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from pipelines.config import LoaderSettings
from pipelines.images.augmentation import Drawn
from pipelines.loading.decoding import Batch
from pipelines.loading.device import Copy, CudaCopier, DeviceLoader, HostCopier, copier_for, one_ahead
from pipelines.loading.loader import Loader

NOTHING_DRAWN = Drawn((), [], np.empty((0, 2), np.int64))


@dataclass
class Event:
    """A copy that is done when it is waited for, as on a slow device."""

    name: int
    log: list[str]

    def synchronize(self):
        self.log.append(f"{self.name} done")

    def wait(self, stream):
        raise AssertionError("only CudaCopier has streams")


@dataclass
class Recorder:
    """The twin of CudaCopier that writes down what it is asked."""

    log: list[str] = field(default_factory=list)

    def start(self, host):
        name = int(host.labels[0])
        self.log.append(f"start {name}")
        return Copy(host, batch(name, "on the device"), Event(name, self.log))

    def receive(self, copy):
        self.log.append(f"receive {int(copy.batch.labels[0])}")
        return copy.batch


def batch(name, key="on the host"):
    images, number = torch.full((1, 2, 2, 1), name, dtype=torch.uint8), torch.tensor([name])
    return Batch(images, number, (key,), number, NOTHING_DRAWN)


def source(count, log):
    try:
        yield from map(batch, range(count))
    finally:
        log.append("closed")


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_all_batches_come_in_order_as_they_are_on_the_device(count):
    received = list(one_ahead(source(count, []), Recorder()))
    assert [(int(b.labels[0]), b.keys) for b in received] == [(n, ("on the device",)) for n in range(count)]


def test_a_batch_is_handed_on_when_the_next_is_being_copied():
    copier = Recorder()
    for received in one_ahead(source(3, []), copier):
        copier.log.append(f"step {int(received.labels[0])}")
    assert copier.log == [
        *("start 0", "start 1", "receive 0", "step 0", "0 done"),
        *("start 2", "receive 1", "step 1", "1 done"),
        *("receive 2", "step 2", "2 done"),
    ]


def test_a_host_batch_is_held_until_its_copy_is_done_and_is_free_before_another_is_asked_for():
    made, held_when_asked = [], []

    def held():
        return [name for name, host in enumerate(made) if host() is not None]

    def recycling():
        for name in range(4):
            held_when_asked.append(held())
            host = batch(name)
            made.append(weakref.ref(host))
            yield host
            del host

    held_in_steps = [held() for _ in one_ahead(recycling(), Recorder())]
    assert held_in_steps == [[0, 1], [1, 2], [2, 3], [3]]
    assert held_when_asked == [[], [0], [1], [2]]


def test_whoever_stops_early_waits_for_the_copies_and_closes_the_source():
    copier = Recorder()
    batches = one_ahead(source(5, copier.log), copier)
    next(batches)
    batches.close()
    assert copier.log == ["start 0", "start 1", "receive 0", "closed", "0 done", "1 done"]


def test_an_error_of_the_source_comes_through_once_the_copies_are_done():
    def broken():
        yield batch(0)
        raise ValueError("no more")

    copier = Recorder()
    with pytest.raises(ValueError, match="no more"):
        list(one_ahead(broken(), copier))
    assert copier.log == ["start 0", "0 done"]


def test_a_loader_for_a_device_gives_what_the_loader_gives(digits):
    settings = LoaderSettings(global_batch=64, lanes=4)
    loader = Loader(digits.root, digits.manifest, "train", settings)
    on_device = DeviceLoader(loader, copier_for(torch.device("cpu")))
    assert isinstance(on_device.copier, HostCopier)
    assert on_device.steps_per_epoch == loader.steps_per_epoch
    for ours, theirs in zip(on_device.epoch(1, 3), loader.epoch(1, 3), strict=True):
        assert ours.keys == theirs.keys
        assert torch.equal(ours.images, theirs.images)
        assert torch.equal(ours.labels, theirs.labels)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_batches_arrive_whole_though_their_host_memory_is_filled_anew():
    device = torch.device("cuda", torch.cuda.current_device())
    free = [torch.empty(64, 224, 224, 3, dtype=torch.uint8).pin_memory() for _ in range(2)]

    def recycled():
        for step in range(50):
            images = free[step % 2].fill_(step)
            numbers = torch.full((64,), step).pin_memory()
            yield Batch(images, numbers, ("",) * 64, numbers, NOTHING_DRAWN)

    busy = torch.randn(4096, 4096, device=device)
    sums = []
    for received in one_ahead(recycled(), CudaCopier(device)):
        busy = busy @ busy.T / 4096  # so that the host runs ahead of the device
        sums.append((received.images != received.labels[:, None, None, None]).sum())
    assert [int(wrong) for wrong in sums] == [0] * 50
