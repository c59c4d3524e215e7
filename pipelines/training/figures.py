"""What a training counts of itself: sums over images, and their averages."""

import torch
from torch import Tensor


def no_sums() -> Tensor:
    """What totals are added to."""
    return torch.zeros(4, dtype=torch.float64)


class Sums:
    """(loss, wrong for top-1, wrong for top-5, images), summed over batches: averages are over images, not workers.

    Until the total is asked for all stays on the device, and as it is: to fetch a figure each step would keep the host
    from preparing the next one, and to add it up there costs a small network more time than it is worth.
    """

    def __init__(self) -> None:
        self.losses: list[Tensor] = []
        """The mean of each batch."""
        self._hits: list[Tensor] = []
        self._images: list[int] = []

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """A batch: its mean loss, logits (N, classes) and labels (N,)."""
        self.losses.append(loss.detach())
        self._hits.append(logits.topk(min(5, logits.shape[1])).indices == labels[:, None])
        self._images.append(len(labels))

    def total(self) -> Tensor:
        """Of all batches until now, of which there must be one: float64 (4,), on the host."""
        losses, hits = torch.stack(self.losses).cpu().double(), torch.cat(self._hits)
        right = torch.stack([hits[:, 0].sum(), hits.sum()]).cpu()
        images = torch.tensor(self._images, dtype=torch.float64)
        return torch.cat([(losses @ images)[None], images.sum() - right, images.sum()[None]])


def images_of(total: Tensor) -> float:
    return float(total[3])


def averages(total: Tensor, prefix: str) -> dict[str, float]:
    """The loss, the top-1 and the top-5 error, per image, as metrics."""
    loss, wrong1, wrong5, images = total.tolist()
    return {
        f"{prefix}_loss": loss / images,
        f"{prefix}_top1_error": wrong1 / images,
        f"{prefix}_top5_error": wrong5 / images,
    }
