import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import torch
from pipelines.allocator import keep_freed_memory

if sys.argv[1] == "keeping":
    keep_freed_memory()
layers = torch.nn.Conv2d(3, 64, 7, 2), torch.nn.ReLU(), torch.nn.Conv2d(64, 64, 3), torch.nn.ReLU()
network = torch.nn.Sequential(*layers)
images = torch.zeros(8, 3, 224, 224)
for step in range(60):
    if step == 20:  # by then the heap has grown for nearly all that lies in it side by side
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    network(images).sum().backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc is told")
def test_steps_take_the_memory_that_those_before_freed():
    pages = {}
    for how in ("as it comes", "keeping"):
        done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
        pages[how] = int(done.stdout)
    assert pages["keeping"] < pages["as it comes"] / 10
