import sys

import numpy as np
import pytest

from benchmarks.loading_setup import FailedError
from benchmarks.turns import Side, cpu_ratio, measured, pace, ratio

STEPS = """
import struct, sys, time
with open(sys.argv[1], "wb", buffering=0) as ticks:
    while True:
        ticks.write(struct.pack("dd", time.monotonic(), time.process_time()))
        time.sleep(float(sys.argv[2]))
"""


def test_a_pace_is_of_whole_steps_within_the_turn_and_of_all_workers():
    ticks = np.array([[0.0, 0.0], [9.0, 5.0], [10.0, 6.0], [12.0, 7.0], [14.0, 8.0], [99.0, 50.0]])
    assert pace([ticks, ticks], 9.5, 20.0) == (2.0, 2.0)


@pytest.mark.processes
def test_sides_take_steps_in_their_turns_alone(tmp_path):
    sides = [
        Side(name, (sys.executable, "-c", STEPS, f"{tmp_path / name}.0", wait_s), tmp_path / name)
        for name, wait_s in (("quick", 0.002), ("slow", 0.2))
    ]
    paces = measured(sides, rounds=2, turn_s=0.2, warm_up_steps=2)
    assert [len(of_side) for of_side in paces.values()] == [2, 2]
    assert ratio(paces["slow"], paces["quick"]) > 2
    assert cpu_ratio(paces["slow"], paces["slow"]) == 1
    moments = [np.fromfile(f"{tmp_path / name}.0").reshape(-1, 2)[:, 0] for name in ("quick", "slow")]
    assert np.diff(moments[0]).max() > 0.5, "it was stopped while the slow one took four steps"


@pytest.mark.processes
def test_a_side_that_ends_is_an_error_with_its_last_words(tmp_path):
    dying = Side("dying", (sys.executable, "-c", "print('no such thing')"), tmp_path / "dying")
    with pytest.raises(FailedError, match="dying ended: no such thing"):
        measured([dying], 1, 0.1, 1)
