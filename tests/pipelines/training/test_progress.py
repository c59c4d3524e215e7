"""What a training says while it runs."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from itertools import count

import pytest

from pipelines.training import progress
from pipelines.training.progress import Screen, duration, short_duration, terminal_columns
from tests.jobs.commands import environment

FIGURES = {"step_loss": 2.5, "step_top1_error": 0.5, "step_top5_error": 0.25, "learning_rate": 0.05}
METRICS = {
    "train_loss": 2.25,
    "val_top1_error": 0.125,
    "val_top5_error": 0.0,
    "images_per_s": 2000.0,
    "input_wait_fraction": 0.0,
}
SAYS = (
    r"epoch 2/3 step 10/100  loss 2.5000  top-1 error 50.0%  top-5 25.0%  lr 0.05  "
    r"[\d,]+ images/s  waited 4% for input  \d.* left"
)


@pytest.fixture
def without_pauses(monkeypatch):
    monkeypatch.setattr(progress, "BAR_EVERY_S", 0.0)
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)


def shown(columns, capsys):
    screen = Screen(columns)
    screen.begin(100, epochs=3, steps_per_epoch=100)
    screen.steps(110, FIGURES, images=640, waited=0.04)
    screen.epoch(2, METRICS)
    screen.say("done")
    return capsys.readouterr().out


def test_without_a_terminal_the_steps_of_long_epochs_are_lines(without_pauses, capsys):
    steps, epoch, done = shown(None, capsys).splitlines()
    assert re.fullmatch(SAYS, steps)
    assert epoch.startswith("epoch 2/3  loss 2.2500  val top-1 error 12.50%")
    assert done == "done"


def test_a_line_of_steps_comes_once_a_minute(capsys):
    assert [line[:9] for line in shown(None, capsys).splitlines()] == ["epoch 2/3", "done"]


def test_on_a_terminal_the_bar_is_one_line_that_the_next_one_covers(without_pauses, capsys):
    bar, epoch, rest = re.split("[\r\n]", shown(200, capsys), maxsplit=2)
    assert re.fullmatch(f"█{{7}}░{{13}} {SAYS}", bar)
    assert len(epoch) >= len(bar)
    assert rest == "done\n"


def test_the_bar_goes_when_others_speak(without_pauses, capsys):
    screen = Screen(200)
    screen.begin(0, epochs=1, steps_per_epoch=10)
    screen.steps(1, FIGURES, images=64, waited=0)
    screen.close()
    bar, blank = capsys.readouterr().out.split("\r")[:2]
    assert blank == " " * len(bar)
    screen.close()
    assert capsys.readouterr().out == ""


@pytest.fixture
def by_the_second(monkeypatch):
    """Each look at the clock is a second after the one before."""
    monkeypatch.setattr(progress.time, "monotonic", count().__next__)


@pytest.mark.parametrize(
    ("columns", "said"),
    [(125, SAYS), (80 - progress.HOROVODRUNS_PREFIX, r"2/3 10/100 loss 2.5 err 50/25 lr 0.05 640/s wait 4% \d+s")],
)
def test_on_a_narrow_terminal_the_bar_still_says_all_that_it_says(by_the_second, capsys, columns, said):
    assert re.fullmatch(said, shown(columns, capsys).split("\r")[0])


def test_the_short_form_of_a_long_training_fits_80_columns_through_horovodrun(by_the_second, capsys):
    screen = Screen(80 - progress.HOROVODRUNS_PREFIX)
    screen.begin(0, epochs=90, steps_per_epoch=5004)
    figures = {"step_loss": 6.9077, "step_top1_error": 0.994, "step_top5_error": 0.989, "learning_rate": 0.0123}
    screen.steps(10 * 5004, figures, images=12_345.0, waited=0.14)
    assert re.search(r" 12345/s wait 14% \d+s *\r$", capsys.readouterr().out)


def test_a_bar_is_no_wider_than_its_terminal(without_pauses, capsys):
    assert shown(40, capsys).index("\r") == 39


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (99.4, "99 s"), (119, "2 min"), (5940, "99 min"), (11_100, "3 h 05 min")]
)
def test_durations_are_as_long_as_people_count(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (119, "2min"), (5940, "99min"), (11_100, "3h05"), (5990, "1h40")]
)
def test_on_a_narrow_terminal_they_are_shorter(seconds, text):
    assert short_duration(seconds) == text


TELL = "from pipelines.training.progress import terminal_columns; print('columns:', terminal_columns())"


@pytest.mark.parametrize(
    ("launcher", "columns"),
    [([], 120), pytest.param(["horovodrun", "-np", "1"], 108, marks=pytest.mark.processes)],
)
def test_the_terminal_is_found_through_horovodrun_too(launcher, columns):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    words = [*launcher, sys.executable, "-c", TELL]
    subprocess.run(words, stdin=theirs, stdout=theirs, stderr=theirs, env=environment(), check=True, timeout=60)
    assert f"columns: {columns}" in os.read(ours, 10_000).decode()


def test_there_is_none_where_output_goes_to_a_file_or_a_pipe(capfd):
    assert terminal_columns() is None
