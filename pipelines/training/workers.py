"""The workers that train together: Horovod's processes, or this process alone. The one home of Horovod."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pipelines.allocator import keep_freed_memory
from pipelines.config import HorovodSettings, InputError
from pipelines.dataset.manifest import Manifest, read_manifest
from pipelines.dataset.storage import Address
from pipelines.training.compression import ChannelsLastCompressor, contiguous_view
from pipelines.training.environment import environment_of
from pipelines.training.gradients import BUCKET_BYTES, Bucket, Exchange, average, buckets_of
from pipelines.training.statistics import convert


class Workers(Protocol):
    """What training needs of the processes that share it. Nothing sent between them is unpickled."""

    rank: int
    size: int
    local_rank: int
    """Of this host's workers, from 0."""
    local_size: int
    talks_on_gpus: bool
    """Whether gradients that lie on a GPU can be shared."""
    summands: int
    """How many workers' gradients are added up where their mean is wanted: the loss is divided by it."""

    def share_gradients(self, optimizer: Optimizer, model: nn.Module, micro_batches: int) -> Optimizer:
        """The optimizer to use; from now on gradients are exchanged in every step of so many backward passes."""
        ...

    def average_gradients(self) -> None:
        """After the last of a step's backward passes: the gradients become those of all workers."""
        ...

    def share_weights(self, model: nn.Module) -> None:
        """Give every worker the parameters and buffers of rank 0."""
        ...

    def share_bytes(self, content: bytes | None) -> bytes:
        """What rank 0 gave, on every worker; the others give None."""
        ...

    def gather_bytes(self, content: bytes) -> list[bytes]:
        """What each worker gave, which must not be empty, by rank, on every worker."""
        ...

    def sum(self, values: Tensor) -> Tensor:
        """Element by element over all workers, on every worker."""
        ...

    def begin_sum(self, values: Tensor) -> Callable[[], Tensor]:
        """`sum` beside other work; the call of what it returns waits for it. One at a time."""
        ...

    def wait_for_all(self) -> None:
        """Return once every worker has come here."""
        ...

    def synchronise_statistics(self, model: nn.Module, device: torch.device) -> None:
        """If asked to: normalise over the images of all workers, not of each one's own, from now on."""
        ...

    def record_timeline(self, folder: Path) -> None:
        """If asked to: write what the workers send each other, and when, to a file in this folder of rank 0."""
        ...


class Solo:
    """One process that trains alone: the in-process twin of HorovodWorkers."""

    rank = 0
    size = 1
    local_rank = 0
    local_size = 1
    talks_on_gpus = True
    summands = 1

    def share_gradients(self, optimizer: Optimizer, model: nn.Module, micro_batches: int) -> Optimizer:
        return optimizer

    def average_gradients(self) -> None:
        pass

    def share_weights(self, model: nn.Module) -> None:
        pass

    def share_bytes(self, content: bytes | None) -> bytes:
        assert content is not None, "rank 0 gives the content"
        return content

    def gather_bytes(self, content: bytes) -> list[bytes]:
        return [content]

    def sum(self, values: Tensor) -> Tensor:
        return values

    def begin_sum(self, values: Tensor) -> Callable[[], Tensor]:
        return lambda: values

    def wait_for_all(self) -> None:
        pass

    def synchronise_statistics(self, model: nn.Module, device: torch.device) -> None:
        pass

    def record_timeline(self, folder: Path) -> None:
        pass


SLICE_BYTES = 2**30
"""In one message: Gloo ends the process at more than 2 GiB."""


class HorovodWorkers:
    """The processes that one horovodrun started."""

    def __init__(self, settings: HorovodSettings) -> None:
        import horovod.torch as hvd

        for variable, value in environment_of(settings, torch.cuda.is_available()).items():
            os.environ.setdefault(variable, value)  # horovodrun's own flags are there already
        hvd.init()
        if settings.adasum and not hvd.mpi_built():
            raise InputError(
                "horovod.adasum = true needs a Horovod built with MPI, which this one is not: leave it out"
            )
        self._hvd = hvd
        self._settings = settings
        self._buckets: list[Bucket] = []
        self.rank: int = hvd.rank()
        self.size: int = hvd.size()
        self.local_rank: int = hvd.local_rank()
        self.local_size: int = hvd.local_size()
        self.talks_on_gpus: bool = bool(hvd.nccl_built())
        # To divide the sums would be another pass over all gradients. 16 bits would lose the parts that are too small.
        self.summands: int = self.size if settings.compression == "none" and not settings.adasum else 1

    def share_gradients(self, optimizer: Optimizer, model: nn.Module, micro_batches: int) -> Optimizer:
        hvd, settings = self._hvd, self._settings
        self._buckets = []  # another network's are free before there are new ones
        if settings.adasum:  # which combines the steps of all workers, not their gradients
            combining: Optimizer = hvd.DistributedOptimizer(
                optimizer,
                named_parameters=model.named_parameters(),
                compression=ChannelsLastCompressor(getattr(hvd.Compression, settings.compression)),
                backward_passes_per_step=micro_batches,
                op=hvd.Adasum,
            )
            return combining
        megabytes = settings.fusion_threshold_mb
        self._buckets = buckets_of(
            model.parameters(),
            micro_batches,
            self._send,
            dtype=torch.float16 if settings.compression == "fp16" else None,
            bucket_bytes=BUCKET_BYTES if megabytes is None else megabytes * 2**20,
        )
        return optimizer

    def _send(self, gradients: Tensor, name: str) -> Exchange:
        hvd = self._hvd
        op = hvd.Average if self.summands == 1 else hvd.Sum
        return partial(hvd.synchronize, hvd.allreduce_async_(gradients, name=name, op=op))

    def average_gradients(self) -> None:
        average(self._buckets)

    def share_weights(self, model: nn.Module) -> None:
        views = {name: contiguous_view(tensor) for name, tensor in model.state_dict().items()}
        self._hvd.broadcast_parameters(views, root_rank=0)

    def share_bytes(self, content: bytes | None) -> bytes:
        # Horovod's broadcast_object would pickle; bytes go as they are, their length first.
        length = self._hvd.broadcast(torch.tensor([len(content or b"")]), root_rank=0, name="length")
        buffer = torch.zeros(int(length), dtype=torch.uint8)
        if content:
            buffer = torch.from_numpy(np.frombuffer(content, np.uint8).copy())
        for part in buffer.split(SLICE_BYTES):
            self._hvd.broadcast_(part, root_rank=0, name="content")
        shared: bytes = buffer.numpy().tobytes()
        return shared

    def gather_bytes(self, content: bytes) -> list[bytes]:
        lengths = self._hvd.allgather(torch.tensor([len(content)]), name="lengths").tolist()
        buffer = torch.from_numpy(np.frombuffer(content, np.uint8).copy())
        gathered = self._hvd.allgather(buffer, name="contents")
        return [part.numpy().tobytes() for part in gathered.split(lengths)]

    def sum(self, values: Tensor) -> Tensor:
        total: Tensor = self._hvd.allreduce(values, op=self._hvd.Sum, name="sum")
        return total

    def begin_sum(self, values: Tensor) -> Callable[[], Tensor]:
        return partial(self._hvd.synchronize, self._hvd.allreduce_async(values, op=self._hvd.Sum, name="begun sum"))

    def wait_for_all(self) -> None:
        self.sum(torch.zeros(1))

    def synchronise_statistics(self, model: nn.Module, device: torch.device) -> None:
        if not self._settings.sync_batch_norm:
            return
        if device.type != "cuda":
            raise InputError("horovod.sync_batch_norm = true is for GPUs, and this trains on the CPU: leave it out")
        convert(model, self._hvd.SyncBatchNorm)

    def record_timeline(self, folder: Path) -> None:
        if os.environ.get("HOROVOD_TIMELINE") == "DYNAMIC" and self._settings.timeline:
            if self.rank == 0:
                folder.mkdir(parents=True, exist_ok=True)
            self._hvd.start_timeline(str(folder / "horovod-timeline.json"))


@contextmanager
def connected(settings: HorovodSettings) -> Iterator[Workers]:
    """Horovod's workers if horovodrun started this process, else this process alone.

    Also gives this process its share of the host's cores, so that workers on one host do not fight for them, and lets
    it keep the memory that it frees. If another worker ends early, what this one then waits for in vain is an
    InputError that points to the other's message.
    """
    launched = "HOROVOD_SIZE" in os.environ
    workers: Workers = HorovodWorkers(settings) if launched else Solo()
    share_cores(workers)
    keep_freed_memory()
    try:
        yield workers
    except RuntimeError as error:
        if launched and type(error).__name__ == "HorovodInternalError":
            raise InputError(
                f"worker {workers.rank}: another worker ended or cannot be reached any more; its own message says why, "
                "if it has one. The same command goes on from the newest checkpoint"
            ) from None
        raise


def share_cores(workers: Workers) -> None:
    """Give this process its share of the host's cores."""
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // workers.local_size))


def share_manifest(root: Address, workers: Workers) -> Manifest:
    """The dataset at `root` as rank 0 reads it, on every worker: one published meanwhile must not come between them."""
    content = read_manifest(root).model_dump_json().encode() if workers.rank == 0 else None
    return Manifest.model_validate_json(workers.share_bytes(content))


def choose_device(wanted: str, workers: Workers) -> torch.device:
    """`auto`, `cpu` or `cuda` to this worker's device: one GPU a worker where there are GPUs.

    Raises InputError if GPUs are asked for and there are fewer than workers on this host.
    """
    gpus = torch.cuda.device_count() if wanted != "cpu" else 0
    can_talk = workers.size == 1 or workers.talks_on_gpus
    if gpus == 1 and "CUDA_VISIBLE_DEVICES" in os.environ and can_talk:  # a scheduler gave each worker its own
        return torch.device("cuda", 0)
    if gpus >= workers.local_size and workers.talks_on_gpus:
        torch.cuda.set_device(workers.local_rank)
        return torch.device("cuda", workers.local_rank)
    why = f"{socket.gethostname()} has {gpus} GPUs for {workers.local_size} workers"
    if gpus >= workers.local_size:
        why = "Horovod was built without NCCL"
    if wanted == "cuda":
        raise InputError(f"device = cuda: {why}; start fewer with horovodrun -np, set up with nvcc, or set device=cpu")
    if gpus and workers.rank == 0:
        print(f"training on the CPU: {why}", flush=True)
    return torch.device("cpu")
