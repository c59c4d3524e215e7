"""What a training counts of itself: sums over images, and their averages."""

import torch
from torch import Tensor


def no_sums(device: torch.device | str) -> Tensor:
    """What `sums` are added to."""
    return torch.zeros(4, dtype=torch.float64, device=device)


def sums(loss: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """(loss, wrong for top-1, wrong for top-5, images), summed over a batch: averages are over images, not workers.

    It stays on the device: to ask for a figure each step would keep the host from preparing the next one.
    """
    hits = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
    right1, right5 = hits[:, 0].sum(), hits.sum()
    images = torch.full_like(right1, len(labels))
    return torch.stack([loss.detach().double() * len(labels), images - right1, images - right5, images])


def images_of(sums: Tensor) -> float:
    return float(sums[3])


def averages(sums: Tensor, prefix: str) -> dict[str, float]:
    """The loss, the top-1 and the top-5 error, per image, as metrics."""
    loss, wrong1, wrong5, images = sums.tolist()
    return {
        f"{prefix}_loss": loss / images,
        f"{prefix}_top1_error": wrong1 / images,
        f"{prefix}_top5_error": wrong5 / images,
    }
