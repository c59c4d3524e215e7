"""A network together with what must be done to stored pixels before it: what is trained, saved and served."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from models.heads import Outputs


class Loss(Protocol):
    """What training minimises: scores (N, classes) and labels (N,) to the mean over the batch."""

    def __call__(self, scores: Tensor, labels: Tensor, /, *, label_smoothing: float) -> Tensor: ...


class Classifier(nn.Module):
    """Stored images to logits. Holds the normalisation, so whoever has the weights has its constants, too.

    mean, std: of each channel over the training images, on the [0, 1] scale; a channel that never varies has std 0,
    for which one grey level is taken.
    """

    mean: Tensor
    std: Tensor
    _scale: Tensor
    _shift: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).clamp(min=1 / 255).view(1, -1, 1, 1))
        _fold(self)
        self.register_load_state_dict_post_hook(_fold)  # type: ignore[no-untyped-call]  # torch left it untyped

    def forward(self, images_NHWC: Tensor) -> Outputs:
        """Stored images (N, H, W, C) to logits (N, classes), in training perhaps to several heads; see `normalised`."""
        outputs: Outputs = self.network(self.normalised(images_NHWC))
        return outputs

    @property
    def loss(self) -> Loss:
        """The network's own, if it has a method `loss`, else the cross-entropy of its scores."""
        own: Loss = getattr(self.network, "loss", cross_entropy)
        return own

    def normalised(self, images_NHWC: Tensor) -> Tensor:
        """(pixel / 255 - mean) / std as (N, C, H, W), stored channels last.

        Pixels are 0 to 255: uint8, or float32 where images were blended. The result is float32, or autocast's type
        where autocast is on, computed in float32 and rounded once. It is one multiply-add a pixel, which reads the
        given type and writes the wanted one, so that nothing lies in memory in between (on a GPU; the CPU's
        converts first).
        """
        pixels = images_NHWC.permute(0, 3, 1, 2)
        result = torch.empty_like(pixels, dtype=_wanted_dtype(pixels.device.type))
        return torch.addcmul(self._shift, pixels, self._scale, out=result)


def _fold(model: Classifier, *_: object) -> None:
    """Make the two constants of the multiply-add from mean and std; they are not saved, so loading makes them anew."""
    model.register_buffer("_scale", 1 / (255 * model.std), persistent=False)
    model.register_buffer("_shift", -model.mean / model.std, persistent=False)


def _wanted_dtype(device_type: str) -> torch.dtype:
    if torch.is_autocast_enabled(device_type):
        return torch.get_autocast_dtype(device_type)
    return torch.float32
