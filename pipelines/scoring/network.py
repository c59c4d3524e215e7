"""A model's graph at work in a Spark task: loaded once a process, images to the probabilities of their classes."""

import gc
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pyspark import SparkFiles
from torch import Tensor, nn

from pipelines.allocator import keep_freed_memory
from pipelines.evaluation.metrics import scores_of_views
from pipelines.evaluation.outcomes import SMALLEST, Floats
from pipelines.images.codec import Image

Output = Literal["logits", "probabilities"]
"""What a graph answers, a number a class."""


@dataclass(frozen=True)
class Network:
    """Travels to executors; the graph goes there as a file, once to each machine."""

    file: str
    """What SparkContext.addFile knows it by; no other graph was ever added by that name."""
    output: Output
    threads: int

    def probabilities(self, images: Image) -> Floats:
        """float32 (N, classes) of images uint8 (N, H, W, C), or of all views (N, V, H, W, C) of each."""
        return probabilities_of(load(SparkFiles.get(self.file), self.threads), self.output, images)


@lru_cache(1)
def load(path: str, threads: int) -> nn.Module:
    """The graph in this file, once a process, which from then on computes with so many threads."""
    torch.set_num_threads(threads)
    keep_freed_memory()
    graph: nn.Module = torch.export.load(path).module()
    gc.freeze()  # Spark's workers collect garbage after each task, and would look through all of torch each time
    return graph


def probabilities_of(graph: nn.Module, output: Output, images: Image) -> Floats:
    """See Network.probabilities."""
    with torch.no_grad():
        scores = scores_of_views(graph if output == "logits" else Logarithms(graph), torch.from_numpy(images))
        result: Floats = scores.log_softmax(1).exp().numpy()
    return result


class Logarithms(nn.Module):
    """Of a graph's probabilities, which serve as logits."""

    def __init__(self, graph: nn.Module) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, images_NHWC: Tensor) -> Tensor:
        logarithms: Tensor = self.graph(images_NHWC).clamp_min(SMALLEST).log()
        return logarithms


def strongest(probabilities: Floats, count: int) -> NDArray[np.int64]:
    """(N, count): labels of the largest, falling; of equal ones the lower label first."""
    order: NDArray[np.int64] = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
    return order
