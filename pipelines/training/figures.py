"""What a training says of itself: sums over images, their averages, the line of an epoch."""

import torch
from torch import Tensor


def no_sums(device: torch.device | str) -> Tensor:
    """What `sums` are added to."""
    return torch.zeros(3, dtype=torch.float64, device=device)


def sums(loss: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """(loss, wrong, images), summed over the images of a batch, so that averages are over images, not workers.

    It stays on the device: to ask for a figure each step would keep the host from preparing the next one.
    """
    wrong = (logits.argmax(1) != labels).double()
    return torch.stack([loss.detach().double() * len(labels), wrong.sum(), torch.ones_like(wrong).sum()])


def averages(sums: Tensor, prefix: str) -> dict[str, float]:
    """The loss and the top-1 error, per image, as metrics."""
    loss, wrong, images = sums.tolist()
    return {f"{prefix}_loss": loss / images, f"{prefix}_top1_error": wrong / images}


def progress(epoch: int, epochs: int, metrics: dict[str, float], left_s: float) -> str:
    """The line that is printed after an epoch."""
    return (
        f"epoch {epoch}/{epochs}  loss {metrics['train_loss']:.4f}  "
        f"val top-1 error {metrics['val_top1_error']:.2%}  top-5 {metrics['val_top5_error']:.2%}  "
        f"{metrics['images_per_s']:,.0f} images/s  waited {metrics['input_wait_fraction']:.0%} for input  "
        f"{left_s:.0f} s left"
    )
