"""Weights that others trained, under our names: torchvision's checkpoints.

The architecture is the same for vgg_a, b, d, e (torchvision's vgg11, 13, 16, 19, with _bn if batch_norm is on) and for
resnet18 to 152, whose bottlenecks have their stride in the 3x3, too. Not for AlexNet, where torchvision has the widths
of Krizhevsky's paper of 2014 and no normalisation; nor for GoogLeNet, where it has batch normalisation and a 3x3 for
the 5x5.

They expect RGB on the [0, 1] scale, normalised with mean .485, .456, .406 and std .229, .224, .225.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from models.registry import create

_VGG = ("vgg_a", "vgg_b", "vgg_d", "vgg_e")
_RESNET = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
_RESNET_NAMES = (
    (r"layer(\d)\.(\d+)\.downsample\.0\.", lambda found: f"conv{int(found[1]) + 1}_x.{found[2]}.shortcut.conv."),
    (r"layer(\d)\.(\d+)\.downsample\.1\.", lambda found: f"conv{int(found[1]) + 1}_x.{found[2]}.shortcut.bn."),
    (r"layer(\d)\.(\d+)\.", lambda found: f"conv{int(found[1]) + 1}_x.{found[2]}.branch."),
)
"""conv1, bn1 and fc are called the same."""


def from_torchvision(name: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """torchvision's state dict as one of our network `name`, to be given to its load_state_dict.

    Raises ValueError if torchvision has no network of that architecture, or the keys are not those of its network.
    """
    if name not in _VGG + _RESNET:
        raise ValueError(f"{name}: torchvision has no network of this architecture; {', '.join(_VGG + _RESNET)} load")
    renamed = _renamed_vgg(name, weights) if name in _VGG else _renamed_resnet(weights)
    expected = _keys(name, batch_norm=_has_batch_norm(weights))
    if strange := expected ^ renamed.keys():
        raise ValueError(
            f"{name}: the weights are another network's: {len(strange)} differ, {min(strange)} is one of them"
        )
    return renamed


def _renamed_vgg(name: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Layers have numbers there, `features.3` and `classifier.3`, counted as ours come, anew for the classifier."""
    layers = [layer for layer, _ in _built(name, _has_batch_norm(weights)).named_children()]
    flatten = layers.index("flatten")
    parts = {"features": layers[:flatten], "classifier": layers[flatten + 1 :]}
    numbered = {f"{part}.{number}": layer for part, names in parts.items() for number, layer in enumerate(names)}
    moved = ((*key.rpartition("."), weight) for key, weight in weights.items())
    return {f"{numbered.get(layer, layer)}.{leaf}": weight for layer, _, leaf, weight in moved}


def _renamed_resnet(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for key, weight in weights.items():
        for pattern, ours in _RESNET_NAMES:
            key = re.sub(f"^{pattern}", ours, key)
        renamed[key] = weight
    return renamed


def _has_batch_norm(weights: Mapping[str, Tensor]) -> bool:
    return any(key.endswith("running_mean") for key in weights)


def _keys(name: str, batch_norm: bool) -> set[str]:
    return set(_built(name, batch_norm).state_dict())


def _built(name: str, batch_norm: bool) -> torch.nn.Module:
    with torch.device("meta"):
        return create(name, 1000, 3, **({"batch_norm": batch_norm} if name in _VGG else {}))
