"""How Horovod, which averages the gradients of all workers, goes about it."""

from typing import Literal

from pydantic import Field, model_validator

from pipelines.config.base import Settings


class HorovodSettings(Settings):
    """Of several workers; one alone needs none of this. What horovodrun's own flags or HOROVOD_* variables say wins,
    but for the buckets, which are not Horovod's."""

    fusion_threshold_mb: int | None = Field(None, ge=0)
    """Gradients are sent together in buckets of up to so many MiB, each as soon as the backward pass has made the last
    of them (Li et al. 2020, section 3.2). 0: one by one. null: 25."""
    cycle_time_ms: float | None = Field(None, gt=0)
    """How often Horovod looks for gradients that are ready on all workers, and sends them; when a worker waits for one,
    it looks at once. null: Horovod's own, 1, with GPUs, and 100 on hosts without, where each look takes from the cores
    that compute. autotune starts from Horovod's own."""
    hierarchical_allreduce: bool | None = None
    """With NCCL: average within hosts first, then between hosts. null: no, unless autotune finds it faster."""
    autotune: bool = False
    """Let Horovod try values for those of the three above that are null, in the first minutes of a training: for the
    first, up to which size it puts buckets together once more."""
    timeline: bool = False
    """Write horovod-timeline.json in the run's folder, for chrome://tracing: what each exchange waited for. It slows
    training a little and grows with every step."""
    stall_check_s: int | None = Field(60, ge=1)
    """Warn when some workers have waited for the others for so long, and say for which. null: never."""
    stall_shutdown_s: int | None = Field(300, ge=1)
    """End the training on all workers when they have waited for so long; the same command goes on from the newest
    checkpoint. null: wait for ever. A worker whose process does not answer at all, stopped or on a host that is gone,
    is waited for at most 30 s, or so long if that is less; workers must also start within that time of each other."""
    compression: Literal["none", "fp16"] = "none"
    """fp16: send gradients with 16 bits, half the bytes. They lose digits, and those below 6e-8 become 0; with
    precision = float16 they are sent scaled, and fewer are lost."""
    adasum: bool = False
    """Combine gradients by Adasum (Maleki et al. 2021) instead of averaging them: large batches then need no other
    learning rate. For 2, 4, 8 and so on workers, and a Horovod that you built with MPI: `make setup` builds it without,
    and nobody has trained so here."""
    sync_batch_norm: bool = False
    """Batch normalisation over the images of all workers, not of each worker's own (Peng et al. 2018, section 3.3), for
    when a worker has few. On GPUs alone."""

    @model_validator(mode="after")
    def _shutdown_comes_after_the_warning(self) -> "HorovodSettings":
        if self.stall_shutdown_s is not None and (
            self.stall_check_s is None or self.stall_shutdown_s <= self.stall_check_s
        ):
            raise ValueError(
                f"horovod.stall_shutdown_s = {self.stall_shutdown_s} must be more than horovod.stall_check_s = "
                f"{self.stall_check_s}, or null: Horovod ends a training only after it has warned"
            )
        return self
