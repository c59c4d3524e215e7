"""Batches to where the network is, one ahead: while a step computes on one batch, the next is being copied."""

from collections import deque
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Protocol

import torch

from pipelines.loading.decoding import Batch
from pipelines.loading.loader import Loader


class Done(Protocol):
    """Whether a copy has been made, as torch.cuda.Event says it."""

    def synchronize(self) -> None: ...
    def wait(self, stream: torch.cuda.Stream) -> None: ...


@dataclass(frozen=True)
class Copy:
    """A batch on its way."""

    host: Batch
    """Must stay as it is until `done`."""
    batch: Batch
    """On the device; not to be touched before `Copier.receive`."""
    done: Done


class Copier(Protocol):
    """How batches get to one device."""

    def start(self, host: Batch) -> Copy:
        """Begin to copy."""
        ...

    def receive(self, copy: Copy) -> Batch:
        """The batch on the device, for what is computed on it from now on."""
        ...


class HostCopier:
    """For a network on the CPU, where batches are already: the twin of CudaCopier without a GPU."""

    def start(self, host: Batch) -> Copy:
        return Copy(host, host, _Always())

    def receive(self, copy: Copy) -> Batch:
        return copy.batch


class _Always:
    def synchronize(self) -> None:
        pass

    def wait(self, stream: torch.cuda.Stream) -> None:
        pass


class CudaCopier:
    """For a network on a GPU: copies on a stream of their own, beside the computing if the host's memory is pinned."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    def start(self, host: Batch) -> Copy:
        with torch.cuda.stream(self._stream):
            # Labels first: they are not pinned, and such a copy waits for what the stream has to do before it.
            labels = host.labels.to(self._device, non_blocking=True)
            images = host.images.to(self._device, non_blocking=True)
            return Copy(host, replace(host, images=images, labels=labels), self._stream.record_event())

    def receive(self, copy: Copy) -> Batch:
        computing = torch.cuda.current_stream(self._device)
        # Not wait_stream: the copy after this one is in that stream, too, and is nothing to wait for.
        copy.done.wait(computing)
        for tensor in (copy.batch.images, copy.batch.labels):
            # The copying stream owns their memory and would fill it anew while the computing still reads it.
            tensor.record_stream(computing)
        return copy.batch


def copier_for(device: torch.device) -> Copier:
    """The copier to this worker's device."""
    return CudaCopier(device) if device.type == "cuda" else HostCopier()


@dataclass(frozen=True)
class DeviceLoader:
    """What `loader` gives, on a device."""

    loader: Loader
    copier: Copier

    @property
    def steps_per_epoch(self) -> int:
        return self.loader.steps_per_epoch

    def epoch(self, epoch: int, start_step: int = 0) -> Generator[Batch, None, None]:
        return self.epochs(range(epoch, epoch + 1), start_step)

    def epochs(self, epochs: range, start_step: int = 0) -> Generator[Batch, None, None]:
        return one_ahead(self.loader.epochs(epochs, start_step), self.copier)


def one_ahead(batches: Generator[Batch, None, None], copier: Copier) -> Generator[Batch, None, None]:
    """The same batches on the device, each handed on when the copy of its successor has begun.

    Whoever made a host batch may fill its memory anew once nobody refers to it. So two are held here, the one last
    handed on and its successor, and the older is let go only when its copy is done, before another is asked for.
    """
    coming: deque[Copy] = deque()

    def hand_on() -> Generator[Batch, None, None]:
        yield copier.receive(coming[0])
        coming[0].done.synchronize()
        coming.popleft()

    try:
        with closing(batches):
            for host in batches:
                coming.append(copier.start(host))
                if len(coming) == 2:
                    yield from hand_on()
            while coming:
                yield from hand_on()
    finally:
        for copy in coming:
            copy.done.synchronize()
