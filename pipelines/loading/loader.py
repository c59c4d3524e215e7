"""Batches of one split for one worker: reads row groups in the plan's order and decodes them in threads."""

import queue
import threading
from collections import deque
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from pipelines.config import InputError, LoaderSettings
from pipelines.dataset import columns
from pipelines.dataset.manifest import Manifest, SplitName
from pipelines.dataset.storage import Address, Location
from pipelines.images.codec import DecodeError, Image, decode
from pipelines.images.augmentation import Augmentation
from pipelines.images.steps import PrincipalComponents
from pipelines.loading.plan import PADDING, EpochPlan, Window, row_generator
from pipelines.loading.reader import RowGroupReader

PADDING_LABEL = PADDING


@dataclass(frozen=True)
class Batch:
    """This worker's part of one global batch."""

    images: Tensor
    """uint8 (N, H, W, C), zeros where padding."""
    labels: Tensor
    """int64 (N,), PADDING_LABEL where padding."""
    keys: tuple[str, ...]
    """N names, empty where padding."""


@dataclass(frozen=True)
class _Row:
    number: int
    key: str
    label: int
    encoded: pa.Buffer


@dataclass(frozen=True)
class Loader:
    """Batches of one split for worker `rank` of `workers`.

    A training loader shuffles, augments and drops the rows that fill no batch; a validation loader gives every row
    exactly once over all workers, the last batch padded.
    """

    root: Address
    manifest: Manifest
    split: SplitName
    settings: LoaderSettings
    seed: int = 0
    rank: int = 0
    workers: int = 1

    def plan(self, epoch: int) -> EpochPlan:
        """The order of one epoch, the same on every worker."""
        sizes = tuple(rows for file in self.manifest.split(self.split, self.root).files for rows in file.row_groups)
        batch, window = self.settings.global_batch, self.settings.window_row_groups
        if self.split == "train":
            return EpochPlan(sizes, batch, self.settings.lanes, window, self.seed, epoch)
        per_worker = -(-batch // self.workers)
        return EpochPlan(sizes, per_worker * self.workers, self.workers, window, shuffle=False)

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch, the same on every worker."""
        return self.plan(0).steps

    def epoch(self, epoch: int, start_step: int = 0) -> Generator[Batch, None, None]:
        """The batches of one epoch from `start_step` on, made in the background a few ahead.

        Raises InputError if a file is missing or not what the manifest says, or an image does not fit a transform.
        """
        return prefetched(self._batches(epoch, start_step), self.settings.prefetch_batches)

    def examples(self, count: int) -> Tensor:
        """uint8 (count, H, W, C): the split's first images as a network gets them, black ones where it has fewer."""
        with closing(self.epoch(0)) as batches:
            images = next(batches).images[:count]
        return torch.cat([images, images.new_zeros((count - len(images), *images.shape[1:]))])

    def _batches(self, epoch: int, start_step: int) -> Generator[Batch, None, None]:
        plan = self.plan(epoch)
        lanes = plan.lanes_of(self.rank, self.workers)
        windows = plan.reading_order(lanes, start_step)
        order = [segment.group for window in windows for segment in window.segments]
        folder = Location.at(self.root) / self.manifest.version
        split = self.manifest.split(self.split, self.root)
        with (
            ThreadPoolExecutor(self.settings.decode_threads, "decode") as threads,
            closing(RowGroupReader(folder, split, order, self.settings.reader_threads)) as reader,
        ):
            source = _LaneRows(plan, windows, reader, start_step)
            for _ in range(start_step, plan.steps):
                rows = [row for lane in lanes for row in source.take(lane, plan.rows_per_lane)]
                yield self._decode(rows, epoch, threads)

    def _decode(self, rows: list[_Row | None], epoch: int, threads: ThreadPoolExecutor) -> Batch:
        training = self.split == "train"
        statistics = self.manifest.statistics
        transform = compose(
            self.settings.train_transforms if training else self.settings.val_transforms,
            PrincipalComponents(statistics.eigenvalues, statistics.eigenvectors),
        )
        channels = self.manifest.channels

        def pixels(row: _Row | None) -> Image | None:
            if row is None:
                return None
            try:
                return transform(decode(row.encoded, channels), row_generator(self.seed, epoch, row.number))
            except (DecodeError, InputError) as error:
                raise InputError(f"{self.root}: image {row.key}: {error}") from None

        images = list(threads.map(pixels, rows))
        shapes = {image.shape for image in images if image is not None}
        if len(shapes) > 1:
            raise InputError(
                f"{self.root}: images of a batch differ in size ({', '.join(map(str, sorted(shapes)))}): "
                f"add a crop or pad to loader.{self.split}_transforms"
            )
        shape = shapes.pop() if shapes else (1, 1, channels)
        batch = np.zeros((len(rows), *shape), np.uint8)
        for place, image in zip(batch, images, strict=True):
            if image is not None:
                place[:] = image
        labels = [PADDING_LABEL if row is None else row.label for row in rows]
        return Batch(
            torch.from_numpy(batch), torch.tensor(labels), tuple("" if row is None else row.key for row in rows)
        )


class _LaneRows:
    """Deals out the rows of each lane in the plan's order, reading windows as they come to be needed."""

    def __init__(self, plan: EpochPlan, windows: list[Window], reader: RowGroupReader, start_step: int) -> None:
        self._windows = deque(windows)
        self._reader = reader
        self._group_starts = np.concatenate([[0], np.cumsum(plan.group_sizes)])
        self._skip_before = start_step * plan.rows_per_lane
        self._waiting: dict[int, deque[_Row]] = {}

    def take(self, lane: int, count: int) -> list[_Row | None]:
        """The next rows of a lane; None stands for padding, once the lane has no more."""
        waiting = self._waiting.setdefault(lane, deque())
        while len(waiting) < count and self._windows and self._windows[0].lane == lane:
            waiting.extend(self._read(self._windows.popleft()))
        return [waiting.popleft() if waiting else None for _ in range(count)]

    def _read(self, window: Window) -> list[_Row]:
        rows: list[_Row] = []
        for group, first, last in window.segments:
            table = self._reader.next_group().slice(first, last - first + 1)
            base = int(self._group_starts[group]) + first
            columns_ = (table.column(name).combine_chunks() for name in (columns.KEY, columns.LABEL, columns.IMAGE))
            for offset, (key, label, image) in enumerate(zip(*columns_, strict=True)):
                rows.append(_Row(base + offset, key.as_py(), label.as_py(), image.as_buffer()))
        already_dealt = max(0, self._skip_before - window.start)
        return [rows[index] for index in window.order[already_dealt:]]


def prefetched(items: Generator[Batch, None, None], depth: int) -> Generator[Batch, None, None]:
    """The same items, made by a thread of their own up to `depth` ahead; its errors are raised here.

    The thread ends when the iterator returned here is exhausted or closed.
    """
    ready: queue.Queue[Batch | BaseException | None] = queue.Queue(depth)
    closed = threading.Event()

    def put(item: Batch | BaseException | None) -> bool:
        while not closed.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            with closing(items):
                for item in items:
                    if not put(item):
                        return
            put(None)
        except BaseException as error:  # handed to the consumer, which raises it
            put(error)

    thread = threading.Thread(target=work, name="loader", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        closed.set()
        thread.join()
