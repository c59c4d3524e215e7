"""Saliency: how much a class score changes with each pixel (Simonyan, Vedaldi, Zisserman 2013, section 3.1)."""

import torch
from torch import Tensor, nn


def saliency(network: nn.Module, images_NCHW: Tensor, labels: Tensor) -> Tensor:
    """(N, H, W): the derivative of each image's class score, its absolute value, the largest over the channels.

    images_NCHW: as the network gets them; the network should be in evaluation. labels: int64 (N,), the classes. The
    score is the logit, as in the paper: the probability's derivative also shows what speaks for other classes.
    """
    pixels = images_NCHW.detach().requires_grad_()
    with torch.enable_grad():
        scores = network(pixels).gather(1, labels[:, None])
        (gradient,) = torch.autograd.grad(scores.sum(), pixels)
    return gradient.abs().amax(1)
