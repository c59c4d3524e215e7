"""The workers that train together: Horovod's processes, or this process alone. The one home of Horovod."""

import os
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pipelines.config import InputError


class Workers(Protocol):
    """What training needs of the processes that share it. Nothing sent between them is unpickled."""

    rank: int
    size: int
    local_rank: int
    """Of this host's workers, from 0."""
    local_size: int

    def share_gradients(self, optimizer: Optimizer, model: nn.Module) -> Optimizer:
        """The optimizer, made to average gradients over all workers before it steps."""
        ...

    def share_weights(self, model: nn.Module) -> None:
        """Give every worker the parameters and buffers of rank 0."""
        ...

    def share_bytes(self, content: bytes | None) -> bytes:
        """What rank 0 gave, on every worker; the others give None."""
        ...

    def sum(self, values: Tensor) -> Tensor:
        """Element by element over all workers, on every worker."""
        ...

    def wait_for_all(self) -> None:
        """Return once every worker has come here."""
        ...


class Solo:
    """One process that trains alone: the in-process twin of HorovodWorkers."""

    rank = 0
    size = 1
    local_rank = 0
    local_size = 1

    def share_gradients(self, optimizer: Optimizer, model: nn.Module) -> Optimizer:
        return optimizer

    def share_weights(self, model: nn.Module) -> None:
        pass

    def share_bytes(self, content: bytes | None) -> bytes:
        assert content is not None, "rank 0 gives the content"
        return content

    def sum(self, values: Tensor) -> Tensor:
        return values

    def wait_for_all(self) -> None:
        pass


class HorovodWorkers:
    """The processes that one horovodrun started."""

    def __init__(self) -> None:
        import horovod.torch as hvd

        hvd.init()
        self._hvd = hvd
        self.rank: int = hvd.rank()
        self.size: int = hvd.size()
        self.local_rank: int = hvd.local_rank()
        self.local_size: int = hvd.local_size()

    def share_gradients(self, optimizer: Optimizer, model: nn.Module) -> Optimizer:
        shared: Optimizer = self._hvd.DistributedOptimizer(optimizer, named_parameters=model.named_parameters())
        return shared

    def share_weights(self, model: nn.Module) -> None:
        self._hvd.broadcast_parameters(model.state_dict(), root_rank=0)

    def share_bytes(self, content: bytes | None) -> bytes:
        # Horovod's broadcast_object would pickle; bytes go as they are, their length first.
        length = self._hvd.broadcast(torch.tensor([len(content or b"")]), root_rank=0, name="length")
        buffer = torch.zeros(int(length), dtype=torch.uint8)
        if content:
            buffer = torch.from_numpy(np.frombuffer(content, np.uint8).copy())
        shared: bytes = self._hvd.broadcast(buffer, root_rank=0, name="content").numpy().tobytes()
        return shared

    def sum(self, values: Tensor) -> Tensor:
        total: Tensor = self._hvd.allreduce(values, op=self._hvd.Sum, name="sum")
        return total

    def wait_for_all(self) -> None:
        self.sum(torch.zeros(1))


def connect() -> Workers:
    """Horovod's workers if horovodrun started this process, else this process alone.

    Also gives this process its share of the host's cores, so that workers on one host do not fight for them.
    """
    workers: Workers = HorovodWorkers() if "HOROVOD_SIZE" in os.environ else Solo()
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(max(1, cores // workers.local_size))
    return workers


def choose_device(wanted: str, workers: Workers) -> torch.device:
    """`auto`, `cpu` or `cuda` to this worker's device: one GPU a worker where there are GPUs.

    Raises InputError if GPUs are asked for and there are fewer than workers on this host.
    """
    gpus = torch.cuda.device_count() if wanted != "cpu" else 0
    if wanted == "cuda" and gpus < workers.local_size:
        raise InputError(
            f"device = cuda: this host has {gpus} GPUs for {workers.local_size} workers; "
            "start fewer with horovodrun -np, or set device=cpu"
        )
    if gpus < workers.local_size:
        return torch.device("cpu")
    torch.cuda.set_device(workers.local_rank)
    return torch.device("cuda", workers.local_rank)
