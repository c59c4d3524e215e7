"""Encoded rows to batches: threads decode and augment the images, straight into their places."""

from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from time import perf_counter
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor

from pipelines.config import InputError
from pipelines.images.augmentation import Augmentation, Drawn
from pipelines.images.codec import DecodeError, Image
from pipelines.images.steps import TenCrop
from pipelines.loading.buffers import Buffers
from pipelines.loading.plan import PADDING
from pipelines.loading.rows import Rows
from pipelines.loading.times import Times

PADDING_LABEL = PADDING

_IMAGES_PER_TASK = 16


@dataclass(frozen=True)
class Batch:
    """This worker's part of one global batch."""

    images: Tensor
    """uint8 (N, H, W, C), or (N, 10, H, W, C) of ten crops; zeros where padding. H and W are 1 if all is padding.

    Of images that differ in size (Loader.pad_to_largest) H and W are the largest of the batch's; an image lies at the
    top left, zeros beside and below it, and `drawn.sizes` has its size."""
    labels: Tensor
    """int64 (N,), PADDING_LABEL where padding."""
    keys: tuple[str, ...]
    """N names, empty where padding."""
    rows: Tensor
    """int64 (N,), counted through the split in its stored order; PADDING where padding."""
    drawn: Drawn
    """What augmented the images that are no padding, which come first. `augmentation.replay` repeats it; nearly, of an
    image that was decoded at a fraction of its size."""


@dataclass(frozen=True)
class UnderWay:
    """A batch whose images are being written."""

    batch: Batch
    tasks: list[Future[tuple[float, float]]]
    """Each gives the seconds that it decoded and transformed."""

    def finished(self, times: Times) -> Batch:
        """The batch, once it is whole; an InputError that names the image if one is damaged."""
        for decode, transform in (task.result() for task in self.tasks):
            times.decode += decode
            times.transform += transform
        times.images += len(self.batch.drawn.sizes)
        return self.batch

    def cancel(self) -> None:
        """Begin no more of it."""
        for task in self.tasks:
            task.cancel()


@dataclass(frozen=True)
class Broken:
    """What comes in place of a batch that cannot be made."""

    error: InputError

    def finished(self, times: Times) -> NoReturn:
        """Raises the error."""
        raise self.error

    def cancel(self) -> None:
        """Nothing of it was begun."""


def chunks(images: int) -> list[range]:
    """What one task of a thread makes of a batch."""
    return [range(start, min(start + _IMAGES_PER_TASK, images)) for start in range(0, images, _IMAGES_PER_TASK)]


@dataclass(frozen=True)
class BatchDecoder:
    """Makes batches of one epoch with the threads of an executor.

    dataset, setting: what errors call the dataset and the list of transforms.
    pad_to_largest: images may differ in size; see Batch.images.
    """

    augmentation: Augmentation
    channels: int
    threads: Executor
    buffers: Buffers
    dataset: str
    setting: str
    pad_to_largest: bool = False

    def begin(self, rows: Rows, places: int) -> UnderWay:
        """A batch of so many places, the last ones padding if there are fewer rows.

        Raises InputError if the images have different sizes.
        """
        drawn = Drawn(self.augmentation.steps, rows.parameters, rows.sizes)
        images = self.buffers.take((places, *self._shape(drawn)))
        images[len(rows) :] = 0
        padding = places - len(rows)
        batch = Batch(
            images,
            torch.tensor([*rows.labels.tolist(), *[PADDING_LABEL] * padding]),
            (*rows.keys, *[""] * padding),
            torch.tensor([*rows.numbers.tolist(), *[PADDING] * padding]),
            drawn,
        )
        out = images.numpy()
        tasks = [self.threads.submit(self.write, rows, drawn, out, chunk) for chunk in chunks(len(rows))]
        return UnderWay(batch, tasks)

    def _shape(self, drawn: Drawn) -> tuple[int, ...]:
        sizes = sorted({(height, width) for height, width in drawn.sizes.tolist()}) or [(1, 1)]
        if self.pad_to_largest:
            return (*map(max, zip(*sizes, strict=True)), self.channels)
        if len(sizes) > 1:
            raise InputError(
                f"{self.dataset}: images of a batch differ in size ({', '.join(map(str, sizes))}): "
                f"add a crop or pad to {self.setting}"
            )
        views = (TenCrop.views,) if self.augmentation.makes_views else ()
        return (*views, *sizes[0], self.channels)

    def write(self, rows: Rows, drawn: Drawn, out: Image, places: Sequence[int]) -> tuple[float, float]:
        """Some rows to their places in `out`; the seconds that took to decode, and to transform."""
        decode_s = transform_s = 0.0
        for place in places:
            started = perf_counter()
            try:
                pixels = drawn.decode(place, rows.encoded[place], self.channels)
            except DecodeError as error:
                raise InputError(f"{self.dataset}: image {rows.keys[place]}: {error}") from None
            decoded = perf_counter()
            if self.pad_to_largest:
                _apply_at_corner(drawn, place, pixels, out[place])
            else:
                drawn.apply(place, pixels, out[place])
            decode_s += decoded - started
            transform_s += perf_counter() - decoded
        return decode_s, transform_s


def _apply_at_corner(drawn: Drawn, place: int, pixels: Image, out: Image) -> None:
    height, width = drawn.sizes[place]
    image = np.empty((height, width, out.shape[2]), np.uint8)
    drawn.apply(place, pixels, image)
    out[...] = 0
    out[:height, :width] = image
