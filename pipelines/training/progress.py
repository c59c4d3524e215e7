"""What a training tells the person before it: a live bar on a terminal, elsewhere a line now and then."""

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import psutil

BAR_EVERY_S = 0.5
LINE_EVERY_S = 60.0
CELLS = 20
HOROVODRUNS_PREFIX = len("[0]<stdout>:")


class Progress(Protocol):
    """Where a training says how far it is."""

    def begin(self, step: int, epochs: int, steps_per_epoch: int) -> None:
        """So many steps are done of so many epochs, and work starts now."""
        ...

    def steps(self, step: int, figures: Mapping[str, float], images: float, waited: float) -> None:
        """So many steps are done.

        figures, images: of those since the last call, over all workers; waited: for input, as a fraction of the epoch.
        """
        ...

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """An epoch, counted from 1, is done."""
        ...

    def say(self, line: str) -> None:
        """What else there is to tell."""
        ...

    def close(self) -> None:
        """Others speak now."""
        ...


class Silence:
    """The in-process twin of a screen, for ranks other than 0."""

    def begin(self, step: int, epochs: int, steps_per_epoch: int) -> None:
        pass

    def steps(self, step: int, figures: Mapping[str, float], images: float, waited: float) -> None:
        pass

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        pass

    def say(self, line: str) -> None:
        pass

    def close(self) -> None:
        pass


class Screen:
    """Standard output.

    columns: of the terminal that shows it, on whose last line the bar lives; None where there is no terminal.
    """

    def __init__(self, columns: int | None) -> None:
        self._columns = columns
        self._every_s = BAR_EVERY_S if columns else LINE_EVERY_S
        self._on_bar = 0

    def begin(self, step: int, epochs: int, steps_per_epoch: int) -> None:
        self._first_step, self._step = step, step
        self._epochs, self._steps_per_epoch = epochs, steps_per_epoch
        self._started = time.monotonic()
        self._count_anew()

    def _count_anew(self) -> None:
        """Of the speed; validation is not to count."""
        self._since, self._images = time.monotonic(), 0.0

    def steps(self, step: int, figures: Mapping[str, float], images: float, waited: float) -> None:
        self._step = step
        self._images += images
        elapsed_s = time.monotonic() - self._since
        if elapsed_s < self._every_s:
            return
        speed = speed_text(self._images / elapsed_s, waited, self._left_s())
        text = f"{place_text(step, self._epochs, self._steps_per_epoch)}  {figures_text(figures)}  {speed}"
        if self._columns is None:
            print(text, flush=True)
        else:
            bar = f"{drawn(step / (self._epochs * self._steps_per_epoch))} {text}"
            short = short_text(step, self._epochs, self._steps_per_epoch, figures)
            short += f" {self._images / elapsed_s:.0f}/s wait {waited:.0%} {short_duration(self._left_s())}"
            self._show(next((one for one in (bar, text) if len(one) < self._columns), short), self._columns)
        self._count_anew()

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        self.say(epoch_text(epoch, self._epochs, metrics, self._left_s()))
        self._count_anew()

    def say(self, line: str) -> None:
        print(line.ljust(self._on_bar), flush=True)
        self._on_bar = 0

    def close(self) -> None:
        print(f"{'':{self._on_bar}}\r" if self._on_bar else "", end="", flush=True)
        self._on_bar = 0

    def _show(self, bar: str, columns: int) -> None:
        # The return ends the text and does not begin it: horovodrun passes output on up to a return or the line's end.
        bar = bar[: columns - 1]
        print(f"{bar.ljust(self._on_bar)}\r", end="", flush=True)
        self._on_bar = len(bar)

    def _left_s(self) -> float:
        """By the pace since `begin`, validation and all."""
        pace_s = (time.monotonic() - self._started) / max(1, self._step - self._first_step)
        return pace_s * (self._epochs * self._steps_per_epoch - self._step)


def terminal_columns() -> int | None:
    """Of the terminal that shows this process's standard output, perhaps through horovodrun; None if none does."""
    if sys.stdout.isatty():
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    for parent in psutil.Process().parents():
        if any(Path(word).name == "horovodrun" for word in parent.cmdline()):
            return _columns_of(parent.pid)
    return None


def _columns_of(pid: int) -> int | None:
    try:
        output = str(Path(f"/proc/{pid}/fd/1").readlink())
        if not output.startswith(("/dev/pts/", "/dev/tty")):
            return None
        terminal = os.open(output, os.O_RDONLY | os.O_NOCTTY)
    except OSError:  # another system, or another user's process: lines will do
        return None
    try:
        return max(0, os.get_terminal_size(terminal).columns - HOROVODRUNS_PREFIX) or None
    finally:
        os.close(terminal)


def place_text(step: int, epochs: int, steps_per_epoch: int) -> str:
    """`epoch 3/90 step 120/5004`, for so many steps done, counted through all epochs."""
    epoch, within = divmod(step - 1, steps_per_epoch)
    return f"epoch {epoch + 1}/{epochs} step {within + 1}/{steps_per_epoch}"


def figures_text(figures: Mapping[str, float]) -> str:
    return (
        f"loss {figures['step_loss']:.4f}  top-1 error {figures['step_top1_error']:.1%}  "
        f"top-5 {figures['step_top5_error']:.1%}  lr {figures['learning_rate']:.3g}"
    )


def short_text(step: int, epochs: int, steps_per_epoch: int, figures: Mapping[str, float]) -> str:
    """`3/90 120/5004 loss 2.3 err 50/25 lr 0.05`, for 80 columns: top-1 and top-5 errors in percent."""
    epoch, within = divmod(step - 1, steps_per_epoch)
    top1, top5 = 100 * figures["step_top1_error"], 100 * figures["step_top5_error"]
    loss, lr = figures["step_loss"], figures["learning_rate"]
    return f"{epoch + 1}/{epochs} {within + 1}/{steps_per_epoch} loss {loss:.3g} err {top1:.0f}/{top5:.0f} lr {lr:.2g}"


def speed_text(images_per_s: float, waited: float, left_s: float) -> str:
    return f"{images_per_s:,.0f} images/s  waited {waited:.0%} for input  {duration(left_s)} left"


def epoch_text(epoch: int, epochs: int, metrics: Mapping[str, float], left_s: float) -> str:
    """The line that stays after an epoch."""
    speed = speed_text(metrics["images_per_s"], metrics["input_wait_fraction"], left_s)
    return (
        f"epoch {epoch}/{epochs}  loss {metrics['train_loss']:.4f}  val top-1 error {metrics['val_top1_error']:.2%}  "
        f"top-5 {metrics['val_top5_error']:.2%}  {speed}"
    )


def duration(seconds: float) -> str:
    """`47 s`, `12 min`, `3 h 05 min`."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"


def short_duration(seconds: float) -> str:
    """`47s`, `12min`, `3h05`."""
    return duration(seconds).replace(" h ", "h").removesuffix(" min" if seconds >= 5970 else "").replace(" ", "")


def drawn(share: float) -> str:
    """A bar of CELLS cells, so much of it full."""
    full = int(share * CELLS)
    return "█" * full + "░" * (CELLS - full)
