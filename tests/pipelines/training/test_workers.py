"""HorovodWorkers between real processes."""

import sys

import pytest

from tests.jobs.commands import call

pytestmark = pytest.mark.processes

SHARED_STEPS = """
import torch
from torch import nn
from pipelines.config import HorovodSettings, InputError
from pipelines.training.precision import Precision
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
    for asked in (HorovodSettings(sync_batch_norm=True), HorovodSettings(adasum=True)):
        try:
            HorovodWorkers(asked).synchronise_statistics(model, torch.device("cpu"))
        except InputError as error:
            print(error)
print("all held")
"""


def test_channels_last_gradients_are_averaged_and_an_overflow_of_one_worker_leaves_out_the_step_of_all():
    printed = call("horovodrun", "-np", 2, sys.executable, "-c", SHARED_STEPS)
    assert printed.count("all held") == 2
    assert printed.count("horovod.sync_batch_norm = true is for GPUs") == 2
    assert printed.count("horovod.adasum = true needs a Horovod built with MPI") == 2
