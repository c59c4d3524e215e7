import time
from dataclasses import dataclass

import pytest
import torch

from pipelines.training.waiting import InputWait, clock_of


@dataclass
class Moment:
    ms: float

    def elapsed_time(self, later):
        return later.ms - self.ms


def test_what_counts_is_the_time_between_asking_and_getting():
    told = iter([0, 5, 100, 107, 200, 200, 300])  # asked, given; a step; asked, given; …
    wait = InputWait(lambda: Moment(next(told)))
    assert list(wait.timed("abc")) == ["a", "b", "c"]
    assert wait.seconds == pytest.approx(0.012)


def test_on_the_cpu_slow_input_counts_and_slow_steps_do_not():
    def slow():
        for batch in range(3):
            time.sleep(0.02)
            yield batch

    wait = InputWait(clock_of(torch.device("cpu")))
    started = time.monotonic()
    for _ in wait.timed(slow()):
        time.sleep(0.1)
    assert 3 * 0.02 <= wait.seconds <= time.monotonic() - started - 3 * 0.1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_input_that_comes_while_it_computes_costs_nothing():
    device = torch.device("cuda", torch.cuda.current_device())
    matrix = torch.randn(8192, 8192, device=device)

    def multiply(times):
        for _ in range(times):
            torch.mm(matrix, matrix)

    def slow():
        for batch in range(5):
            time.sleep(0.02)
            yield batch

    waits = {}
    for times in (0, 5):
        multiply(1)
        torch.cuda.synchronize(device)
        wait = InputWait(clock_of(device))
        for _ in wait.timed(slow()):
            multiply(times)
        torch.cuda.synchronize(device)
        waits[times] = wait.seconds
    assert waits[0] > 0.09
    assert waits[5] < 0.03  # the first batch alone
