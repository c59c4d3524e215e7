"""One network's training steps, measured where torchvision is: a process a measurement of benchmarks/models.py.

python -m benchmarks.models_step time|memory|compare NAME SIDES BATCH STEPS DEVICE    # SIDES: ours, torchvision
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from functools import cache, partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import models
from benchmarks.loading_setup import import_torchvision
from models.checkpoints import from_torchvision
from models.heads import Head, heads_of

CLASSES = 1000
TWINS = {
    "alexnet": "alexnet",
    "vgg_a": "vgg11",
    "vgg_b": "vgg13",
    "vgg_d": "vgg16",
    "vgg_e": "vgg19",
    "googlenet": "googlenet",
    **{name: name for name in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")},
}
"""Ours and torchvision's; AlexNet and GoogLeNet are other architectures there, see models/checkpoints.py."""


def build(side: str, name: str) -> nn.Module:
    if side == "ours":
        return models.create(name, CLASSES, 3)
    options = {"aux_logits": True, "init_weights": True} if name == "googlenet" else {}
    network: nn.Module = getattr(_torchvisions(), TWINS[name])(weights=None, **options)
    return network


@cache
def _torchvisions() -> ModuleType:
    import_torchvision()
    import torchvision.models

    networks: ModuleType = torchvision.models
    return networks


def images_for(name: str, batch: int, device: str) -> Tensor:
    """As the classifier hands them on: channels last."""
    images = torch.randn(batch, 3, *models.input_size(name), device=device)
    return images.contiguous(memory_format=torch.channels_last)


def one_step(network: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Forward and backward, auxiliary heads included; no update, which is the same for both."""
    outputs: Any = network(images)
    if hasattr(outputs, "aux_logits1"):  # torchvision's GoogLeNet
        outputs = (Head(1, outputs.logits), Head(0.3, outputs.aux_logits1), Head(0.3, outputs.aux_logits2))
    loss = torch.stack([head.weight * cross_entropy(head.logits, labels) for head in heads_of(outputs)]).sum()
    network.zero_grad()
    loss.backward()
    if images.is_cuda:
        torch.cuda.synchronize()


def timed(name: str, sides: list[str], batch: int, steps: int, device: str) -> dict[str, list[float]]:
    """Seconds of each step, the sides taking turns, after one step each to warm up."""
    images, labels = images_for(name, batch, device), torch.zeros(batch, dtype=torch.long, device=device)
    turns: dict[str, Callable[[], None]] = {}
    for side in sides:
        turns[side] = partial(one_step, build(side, name).train().to(device), images, labels)
        turns[side]()
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(steps):
        for side, step in turns.items():
            started = time.perf_counter()
            step()
            seconds[side].append(time.perf_counter() - started)
    return seconds


def memory(name: str, sides: list[str], batch: int, steps: int, device: str) -> dict[str, int]:
    """Bytes at the peak, with weights and gradients: of the process, less what it had before, or of the GPU."""
    (side,) = sides
    if side == "torchvision":
        _torchvisions()  # so that its import is not counted
    before = _process_bytes()
    network = build(side, name).train().to(device)
    images, labels = images_for(name, batch, device), torch.zeros(batch, dtype=torch.long, device=device)
    for _ in range(steps):
        one_step(network, images, labels)
    return {side: torch.cuda.max_memory_allocated() if device == "cuda" else _process_bytes() - before}


def _process_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def compare(name: str, sides: list[str], batch: int, steps: int, device: str) -> dict[str, float]:
    """Largest difference of logits, relative to the largest logit, with the twin's weights in ours."""
    twin, ours = build("torchvision", name).eval(), build("ours", name).eval()
    ours.load_state_dict(from_torchvision(name, twin.state_dict()))
    images = images_for(name, batch, "cpu")
    with torch.no_grad():
        expected, given = twin(images), ours(images)
    return {"difference": float((expected - given).abs().max() / expected.abs().max())}


if __name__ == "__main__":
    what, name, sides, batch, steps, device = sys.argv[1:]
    torch.manual_seed(0)
    torch.set_num_threads(1)
    measure: Callable[..., object] = {"time": timed, "memory": memory, "compare": compare}[what]
    print(json.dumps(measure(name, sides.split(","), int(batch), int(steps), device)))
