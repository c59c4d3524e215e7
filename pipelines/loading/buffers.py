"""Memory for batches, used again as soon as nobody looks at the batch that was in it.

A fresh batch of images costs a page fault for every 4 KiB of it.
"""

import weakref
from collections import deque

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Buffers:
    """uint8 tensors. The memory of one comes back when the last tensor or array that shares it is gone.

    pinned: in page-locked memory, which a GPU can copy from while the host goes on.
    """

    def __init__(self, pinned: bool = False) -> None:
        self._pinned = pinned
        self._free: deque[NDArray[np.uint8]] = deque()  # its methods are atomic: memory comes back from any thread

    def take(self, shape: tuple[int, ...]) -> Tensor:
        """A tensor of that shape with arbitrary content."""
        memory = self._reused(shape)
        if memory is None:
            memory = torch.empty(shape, dtype=torch.uint8, pin_memory=self._pinned).numpy()
        loan = memory.view()  # held by the tensor's storage, and so by every tensor that shares it
        weakref.finalize(loan, self._free.append, memory).atexit = False
        return torch.from_numpy(loan)

    def _reused(self, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
        while True:
            try:
                memory = self._free.pop()
            except IndexError:
                return None
            if memory.shape == shape:  # else it goes: batches have another size now, as in progressive resizing
                return memory
