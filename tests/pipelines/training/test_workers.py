"""HorovodWorkers between real processes."""

import sys
from dataclasses import dataclass

import pytest
import torch

from pipelines.config import InputError
from pipelines.training.workers import Solo, choose_device
from tests.jobs.commands import call


@dataclass
class Local(Solo):
    """One of several workers of a host."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    talks_on_gpus: bool = False


SHARED_STEPS = """
import torch
from torch import nn
from pipelines.config import HorovodSettings, InputError
from pipelines.training.precision import Precision
from pipelines.training import workers as module
from pipelines.training.workers import HorovodWorkers, connected

with connected(HorovodSettings(compression="fp16")) as workers:
    torch.manual_seed(workers.rank)
    model = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    workers.share_weights(model)
    first = model.weight.detach().clone()
    optimizer = workers.share_gradients(torch.optim.SGD(model.parameters(), lr=1.0), model, 1)
    precision = Precision("float16", "cpu", 2.0**10)

    def step(factor):
        optimizer.zero_grad()
        images = torch.ones(1, 3, 3, 3) * factor
        with precision.autocast():
            loss = model(images).float().sum()
        precision.scaled(loss).backward()
        workers.average_gradients()
        assert model.weight.grad.is_contiguous(memory_format=torch.channels_last)
        precision.unscale(optimizer)
        precision.step(optimizer)
        return model.weight.detach()

    assert torch.equal(step(1000.0 if workers.rank else 1.0), first)  # 1000 * 2**10 is more than float16 holds
    assert precision.state_dict()["scale"] == 2.0**9
    torch.testing.assert_close(step(1.0 + 2 * workers.rank), first - 2)
    assert model.weight.is_contiguous(memory_format=torch.channels_last)
    everyone = workers.gather_bytes(model.weight.detach().numpy().tobytes())
    assert everyone[0] == everyone[1]
    module.SLICE_BYTES = 1000
    for count in (0, 1, 1000, 2500):
        content = bytes(i % 251 for i in range(count))
        assert workers.share_bytes(None if workers.rank else content) == content
    for asked in (HorovodSettings(sync_batch_norm=True), HorovodSettings(adasum=True)):
        try:
            HorovodWorkers(asked).synchronise_statistics(model, torch.device("cpu"))
        except InputError as error:
            print(error)
print("all held")
"""


@pytest.mark.processes
def test_channels_last_gradients_are_averaged_and_an_overflow_of_one_worker_leaves_out_the_step_of_all():
    printed = call("horovodrun", "-np", 2, sys.executable, "-c", SHARED_STEPS)
    assert printed.count("all held") == 2
    assert printed.count("horovod.sync_batch_norm = true is for GPUs") == 2
    assert printed.count("horovod.adasum = true needs a Horovod built with MPI") == 2


@pytest.mark.parametrize(
    ("gpus", "visible", "local_size", "nccl", "wanted", "device"),
    [
        (0, None, 1, False, "auto", "cpu"),
        (2, None, 2, True, "auto", "cuda:1"),
        (2, None, 2, False, "auto", "cpu"),
        (1, None, 2, True, "auto", "cpu"),
        (1, "3", 2, True, "auto", "cuda:0"),
        (1, "3", 2, False, "auto", "cpu"),
        (1, "3", 1, False, "cuda", "cuda:0"),
        (2, None, 2, True, "cpu", "cpu"),
    ],
)
def test_a_worker_has_a_gpu_of_its_own_that_it_can_talk_with_or_none(
    monkeypatch, gpus, visible, local_size, nccl, wanted, device
):
    chosen(monkeypatch, gpus, visible)
    workers = Local(size=local_size, local_size=local_size, local_rank=local_size - 1, talks_on_gpus=nccl)
    assert str(choose_device(wanted, workers)) == device


@pytest.mark.parametrize(
    ("gpus", "nccl", "why"),
    [(0, True, "has 0 GPUs for 2 workers"), (1, True, "has 1 GPUs for 2"), (2, False, "built without NCCL")],
)
def test_gpus_that_are_asked_for_and_missing_are_said(monkeypatch, gpus, nccl, why):
    chosen(monkeypatch, gpus, None)
    with pytest.raises(InputError, match=f"device = cuda: .*{why}"):
        choose_device("cuda", Local(size=2, local_size=2, talks_on_gpus=nccl))


def chosen(monkeypatch, gpus, visible):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
