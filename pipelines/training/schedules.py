"""The learning rate as a function of the step and of the validation errors so far: nothing else is remembered."""

import math
from collections.abc import Sequence

from pipelines.config import ScheduleSettings


def lr_factor(
    settings: ScheduleSettings, step: int, steps_per_epoch: int, epochs: int, val_errors: Sequence[float] = ()
) -> float:
    """What the peak learning rate is multiplied with at `step`, counted from 0 through all epochs.

    val_errors: the top-1 error on the validation images after each epoch that lies before the step; for plateau.
    Linear warm-up as in Goyal et al. 2017, section 2.2, but from next to nothing instead of one worker's rate; cosine
    as in Loshchilov & Hutter 2017, equation 5, one period; polynomial as in You et al. 2017; multi_step and plateau as
    in He et al. 2016, sections 4.2 and 3.4.
    """
    warmup_steps = settings.warmup_epochs * steps_per_epoch
    if step < warmup_steps:
        return (step + 1) / warmup_steps if warmup_steps > 1 else 1.0
    done = min(1.0, (step - warmup_steps) / max(1.0, epochs * steps_per_epoch - warmup_steps))
    epoch = step // steps_per_epoch
    match settings.kind:
        case "constant":
            return 1.0
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        case "polynomial":
            return float((1 - done) ** settings.power)
        case "step":
            return float(settings.gamma ** (epoch // settings.every_epochs))
        case "multi_step":
            return float(settings.gamma ** sum(epoch >= milestone for milestone in settings.milestones))
        case "plateau":
            reductions = plateaus(val_errors[:epoch], settings.patience_epochs)
            return float(settings.gamma ** min(settings.max_reductions, reductions))


def plateaus(errors: Sequence[float], patience_epochs: int) -> int:
    """How often so many errors in a row were no better than the best before them, each counted once."""
    best, waited, found = math.inf, 0, 0
    for error in errors:
        waited = 0 if error < best else waited + 1
        best = min(best, error)
        if waited == patience_epochs:
            waited, found = 0, found + 1
    return found
