"""Where a loader's time goes."""

from dataclasses import dataclass, fields

_BOUND_FROM = 0.05
"""Share of the time spent waiting from which on input is said to bound the training."""


@dataclass
class Times:
    """Seconds, summed over threads and epochs, and images that were made in them."""

    read: float = 0.0
    """Parquet to encoded images, with their checksums."""
    deal: float = 0.0
    """Encoded images into the plan's order, and waiting for `read`."""
    decode: float = 0.0
    """Encoded images to the pixels that the transforms need."""
    transform: float = 0.0
    """Those pixels to the batch: resizing, colours, copying."""
    wait: float = 0.0
    """The consumer's, for a batch: what is left once all of the above ran beside its own work."""
    consume: float = 0.0
    """The consumer's, with a batch."""
    images: int = 0

    def __str__(self) -> str:
        if not self.images:
            return "no images were loaded"
        lines = [f"{'loading':9}  {'seconds':>8}  us/image"]
        for name in (field.name for field in fields(self) if field.name != "images"):
            seconds = getattr(self, name)
            lines.append(f"{name:9}  {seconds:8.1f}  {1e6 * seconds / self.images:8.1f}")
        waited = self.wait / (self.wait + self.consume)
        bound = "input bounds this training" if waited > _BOUND_FROM else "this training is not bound by input"
        return "\n".join([*lines, f"{self.images:,} images; {waited:.1%} of the time was spent waiting: {bound}"])
