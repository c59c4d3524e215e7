"""What a training says of itself: sums over images, their averages, the line of an epoch."""

import torch
from torch import Tensor


def no_sums() -> Tensor:
    """What totals are added to."""
    return torch.zeros(3, dtype=torch.float64)


class Sums:
    """(loss, wrong, images), summed over the images of batches, so that averages are over images, not workers.

    Until the total is asked for all stays on the device, and as it is: to fetch a figure each step would keep the host
    from preparing the next one, and to add it up there costs a small network more time than it is worth.
    """

    def __init__(self) -> None:
        self.losses: list[Tensor] = []
        """The mean of each batch."""
        self._wrong: list[Tensor] = []
        self._images: list[int] = []

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """A batch: its mean loss, logits (N, classes) and labels (N,)."""
        self.losses.append(loss.detach())
        self._wrong.append((logits.argmax(1) != labels).sum())
        self._images.append(len(labels))

    def total(self) -> Tensor:
        """Of all batches until now, of which there must be one: float64 (3,), on the host."""
        losses, wrong = (torch.stack(figures).cpu().double() for figures in (self.losses, self._wrong))
        images = torch.tensor(self._images, dtype=torch.float64)
        return torch.stack([losses @ images, wrong.sum(), images.sum()])


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
