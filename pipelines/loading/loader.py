"""Batches of one split for one worker: reads row groups in the plan's order and decodes them in threads."""

import queue
import threading
from collections import deque
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import tee
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines.config import InputError, LoaderSettings
from pipelines.dataset.manifest import Manifest, SplitName
from pipelines.dataset.storage import Address, Location
from pipelines.images.augmentation import Augmentation
from pipelines.images.steps import PrincipalComponents
from pipelines.loading.buffers import Buffers
from pipelines.loading.decoding import Batch, BatchDecoder, Broken, UnderWay
from pipelines.loading.plan import EpochPlan
from pipelines.loading.reader import RowGroupReader
from pipelines.loading.rows import Dealer
from pipelines.loading.times import Times


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
    pin_memory: bool = False
    """Make batches in page-locked memory, for a GPU."""
    pad_to_largest: bool = False
    """The images of a batch may differ in size: see Batch.images."""
    times: Times = field(default_factory=Times, compare=False)
    """Where the time went, in all epochs until now."""

    def plan(self, epoch: int) -> EpochPlan:
        """The order of one epoch, the same on every worker."""
        batch, window = self.settings.global_batch, self.settings.window_row_groups
        if self.split == "train":
            return EpochPlan(self._group_sizes, batch, self.settings.lanes, window, self.seed, epoch)
        per_worker = -(-batch // self.workers)
        return EpochPlan(
            self._group_sizes, per_worker * self.workers, self.workers, window, self.seed, epoch, shuffle=False
        )

    @cached_property
    def _group_sizes(self) -> NDArray[np.int64]:
        files = self.manifest.split(self.split, self.root).files
        return np.array([rows for file in files for rows in file.row_groups], np.int64)

    @cached_property
    def _buffers(self) -> Buffers:
        """Kept between epochs, so that memory stays what it is; a few batches of it."""
        return Buffers(self.pin_memory)

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch, the same on every worker."""
        return self.plan(0).steps

    def augmentation(self, epoch: int) -> Augmentation:
        """What is done to the split's images in that epoch."""
        training, statistics = self.split == "train", self.manifest.statistics
        return Augmentation(
            self.settings.train_transforms_in(epoch) if training else self.settings.val_transforms,
            PrincipalComponents(statistics.eigenvalues, statistics.eigenvectors),
        )

    def epoch(self, epoch: int, start_step: int = 0) -> Generator[Batch, None, None]:
        """The batches of one epoch from `start_step` on: `epochs` of it alone."""
        return self.epochs(range(epoch, epoch + 1), start_step)

    def epochs(self, epochs: range, start_step: int = 0) -> Generator[Batch, None, None]:
        """The batches of epochs one after another, of the first from `start_step` on, made in the background.

        A few are made ahead, across the end of an epoch too. Raises InputError if a file is missing or not what the
        manifest says, or an image does not fit a transform, when all batches before it have been given. The memory of a
        batch's images is used again once nothing refers to them.
        """
        with closing(prefetched(self._batches(epochs, start_step), self.settings.prefetch_batches)) as batches:
            for epoch in epochs:
                asked = got = perf_counter()
                for _ in range(start_step if epoch == epochs.start else 0, self.steps_per_epoch):
                    self.times.consume += asked - got  # so what comes between epochs, a validation, is left out
                    batch = next(batches)
                    got = perf_counter()
                    self.times.wait += got - asked
                    yield batch
                    del batch
                    asked = perf_counter()

    def examples(self, count: int, epoch: int = 0) -> Tensor:
        """uint8 (count, H, W, C): first images of an epoch as a network gets them, black ones where it has fewer.

        The same on every worker, also on one whose share of a small split is padding alone.
        """
        whole = replace(self, rank=0, workers=1, times=Times())
        with closing(whole.epoch(epoch)) as batches:
            images = next(batches).images
        images = (images if images.dim() == 4 else images.flatten(0, 1))[:count]
        return torch.cat([images, images.new_zeros((count - len(images), *images.shape[1:]))])

    def _batches(self, epochs: range, start_step: int) -> Generator[Batch, None, None]:
        under_way: deque[UnderWay | Broken] = deque()
        with closing(self._begun(epochs, start_step)) as begun:
            try:
                for one in begun:
                    under_way.append(one)
                    if len(under_way) > self.settings.prefetch_batches:
                        yield under_way.popleft().finished(self.times)
                while under_way:
                    yield under_way.popleft().finished(self.times)
            finally:
                for unfinished in under_way:
                    unfinished.cancel()

    def _begun(self, epochs: range, start_step: int) -> Generator[UnderWay | Broken, None, None]:
        """Batches whose images are being decoded; last of all what is wrong, if anything is."""
        settings, name = self.settings, str(self.root)
        lanes = self.plan(0).lanes_of(self.rank, self.workers)
        planned, read = tee((self.plan(epoch), start_step if epoch == epochs.start else 0) for epoch in epochs)
        groups = (
            segment.group
            for plan, start in read
            for window in plan.reading_order(lanes, start)
            for segment in window.segments
        )
        folder, split = Location.at(self.root) / self.manifest.version, self.manifest.split(self.split, self.root)
        with (
            closing(
                RowGroupReader(folder, split, groups, settings.reader_threads, settings.readahead_row_groups)
            ) as reader,
            ThreadPoolExecutor(settings.decode_threads, "decode") as threads,
        ):
            try:
                for plan, start in planned:
                    augmentation = self.augmentation(plan.epoch)
                    dealer = Dealer(plan, plan.reading_order(lanes, start), reader, augmentation, name)
                    transforms = f"loader.{self.split}_transforms"
                    decoder = BatchDecoder(
                        augmentation,
                        self.manifest.channels,
                        threads,
                        self._buffers,
                        name,
                        transforms,
                        self.pad_to_largest,
                    )
                    for _ in range(start, plan.steps):
                        started = perf_counter()
                        rows = dealer.take(lanes, plan.rows_per_lane)
                        begun = decoder.begin(rows, len(lanes) * plan.rows_per_lane)
                        self.times.deal += perf_counter() - started
                        yield begun
            except InputError as error:
                yield Broken(error)
            finally:
                self.times.read += reader.seconds


def prefetched(items: Generator[Batch, None, None], depth: int) -> Generator[Batch, None, None]:
    """The same items, made by a thread of their own up to `depth` ahead; its errors are raised here.

    The thread ends when the iterator returned here is exhausted or closed.
    """
    ready: queue.Queue[Batch | BaseException | None] = queue.Queue(depth)
    closed = threading.Event()

    def put(item: Batch | BaseException | None) -> bool:
        while not closed.is_set():
            with suppress(queue.Full):
                ready.put(item, timeout=0.1)
                return True
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
            del item
    finally:
        closed.set()
        thread.join()
