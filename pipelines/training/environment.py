"""Horovod's settings as the environment variables that it reads when it starts."""

from pipelines.config.horovod import HorovodSettings

GLOO_TIMEOUT_S = 30
"""Horovod's own: how long one of its exchanges waits for a worker whose process does not answer."""

FUSION_BYTES = 2**20
"""Gradients come in buckets already (gradients.py): only what is small is copied to travel with others."""

CYCLE_WITHOUT_GPUS_MS = 100
"""Each cycle takes from the cores that compute. When a worker waits, Horovod as set-up builds it ends the cycle."""


def environment_of(settings: HorovodSettings, gpus: bool) -> dict[str, str]:
    """Names as in Horovod 0.28.1's `horovod/common/common.h`; what is left to Horovod is not among them.

    gpus: whether this host has any.

    The timeline's file is not known before the workers can talk, so it is only announced: `start_timeline` names it.
    """
    variables = {
        "HOROVOD_FUSION_THRESHOLD": _fusion_bytes(settings),
        "HOROVOD_CYCLE_TIME": settings.cycle_time_ms or (None if gpus or settings.autotune else CYCLE_WITHOUT_GPUS_MS),
        "HOROVOD_HIERARCHICAL_ALLREDUCE": settings.hierarchical_allreduce,
        "HOROVOD_AUTOTUNE": settings.autotune or None,
        "HOROVOD_STALL_CHECK_DISABLE": settings.stall_check_s is None or None,
        "HOROVOD_STALL_CHECK_TIME_SECONDS": settings.stall_check_s,
        "HOROVOD_STALL_SHUTDOWN_TIME_SECONDS": settings.stall_shutdown_s or 0,
        # Of a worker whose whole process hangs the stall check hears nothing: it waits in such an exchange itself.
        "HOROVOD_GLOO_TIMEOUT_SECONDS": _less_than(GLOO_TIMEOUT_S, settings.stall_shutdown_s),
    }
    numbers = {name: f"{value:.15g}" for name, value in variables.items() if value is not None}  # True as 1
    return numbers | ({"HOROVOD_TIMELINE": "DYNAMIC"} if settings.timeline else {})


def _fusion_bytes(settings: HorovodSettings) -> int | None:
    megabytes = settings.fusion_threshold_mb
    if settings.adasum:  # which has no buckets of ours
        return None if megabytes is None else megabytes * 2**20
    return None if settings.autotune and megabytes is None else FUSION_BYTES


def _less_than(limit: int, value: int | None) -> int | None:
    return value if value is not None and value < limit else None
