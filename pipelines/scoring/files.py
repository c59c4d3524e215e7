"""Images to a Parquet file of their classes, inside a Spark task: read, prepared, shown to the network, written."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.config import InputError
from pipelines.dataset import columns
from pipelines.dataset.logged_model import ModelMetadata
from pipelines.dataset.manifest import sha256_of
from pipelines.dataset.storage import Location
from pipelines.evaluation.outcomes import Floats
from pipelines.images.augmentation import Augmentation, replay
from pipelines.images.codec import DecodeError, Image, decode
from pipelines.images.steps import UnfitError
from pipelines.preprocess.image import Reject, as_stored
from pipelines.preprocess.records import FileRecord
from pipelines.preprocess.sources.listing import Reader
from pipelines.preprocess.write import failed, read_item
from pipelines.scoring.network import Network, strongest


class Shown(NamedTuple):
    """An image as the network gets it."""

    key: str
    pixels: Image
    """uint8 (H, W, C), or (V, H, W, C) of several views."""


@dataclass(frozen=True)
class Preparation:
    """From an image's bytes to what the model's training showed its network of a validation image."""

    metadata: ModelMetadata
    input_shape: tuple[int, int, int]
    """(H, W, C)"""
    is_stored: bool
    """The bytes are of a dataset, so they are already what the model's own dataset would hold of an image."""

    def __call__(self, raw: bytes) -> Image | Reject:
        """uint8 (H, W, C), or (V, H, W, C) of several views; a reject if it is no image, or its size does not suit."""
        pixels = self._stored(raw)
        if isinstance(pixels, Reject):
            return pixels
        try:
            drawn = self._augmentation.draw(np.empty((1, 0)), np.array([pixels.shape[:2]]))
        except UnfitError as error:
            return self._unfit(pixels, str(error))
        shown = replay(pixels, drawn.of(0))
        if shown.shape[-3:] == self.input_shape:
            return shown
        found, expected = (" x ".join(map(str, shape)) for shape in (shown.shape[-3:], self.input_shape))
        return self._unfit(shown, f"it becomes {found}, the model takes {expected}")

    def _unfit(self, image: Image, why: str) -> Reject:
        height, width, _ = image.shape[-3:]
        is_small = height < self.input_shape[0] or width < self.input_shape[1]
        return Reject("too_small" if is_small else "too_large", why)

    @cached_property
    def _augmentation(self) -> Augmentation:
        return Augmentation(self.metadata.transforms)

    def _stored(self, raw: bytes) -> Image | Reject:
        if not self.is_stored:
            return as_stored(raw, self.metadata.image)
        try:
            return decode(raw, self.metadata.image.channels)
        except DecodeError as error:
            return Reject("decode_error", str(error))


@dataclass(frozen=True)
class ScoreFiles:
    """Writes the files that a partition lists. An instance travels to the executors."""

    folder: Location
    network: Network
    prepare: Preparation
    read: Reader
    root: str
    """Of the source, for people."""
    batch: int
    top: int

    def write_file(self, path: str, numbers: Sequence[int], items: pa.Table) -> FileRecord:
        """The classes of these items, in their order; the file appears under its name only when whole and durable."""
        record = FileRecord(path)
        try:
            tables = list(self._tables(items, record))
            if tables:
                self._write(self.folder / path, pa.concat_tables(tables), record)
        except (OSError, InputError) as error:
            return failed(path, error)
        return record

    def _write(self, target: Location, table: pa.Table, record: FileRecord) -> None:
        with target.writing() as temporary:
            pq.write_table(table, str(temporary), compression="zstd")
            record.row_groups.append(table.num_rows)
            record.size_bytes = temporary.stat().st_size
            record.sha256 = sha256_of(temporary)

    def _tables(self, items: pa.Table, record: FileRecord) -> Iterator[pa.Table]:
        """A table for each batch; no more than one batch is decoded at a time."""
        images = self._shown(items, record)
        while batch := list(islice(images, self.batch)):
            probabilities = self.network.probabilities(np.stack([image.pixels for image in batch]))
            yield scores_table([image.key for image in batch], probabilities, self._class_names, self.top)

    @cached_property
    def _class_names(self) -> pa.Array:
        return pa.array(self.prepare.metadata.class_names, pa.string())

    def _shown(self, items: pa.Table, record: FileRecord) -> Iterator[Shown]:
        for item in chain.from_iterable(batch.to_pylist() for batch in items.to_batches(256)):
            shown = self._prepared(item)
            if isinstance(shown, Reject):
                record.reject(item["key"], f"{self.root}/{item['file']}", shown)
            else:
                yield Shown(item["key"], shown)

    def _prepared(self, item: dict[str, Any]) -> Image | Reject:
        raw = read_item(self.read, item)
        return raw if isinstance(raw, Reject) else self.prepare(raw)


def scores_table(keys: Sequence[str], probabilities: Floats, class_names: pa.Array, top: int) -> pa.Table:
    """As columns.SCORES. probabilities: (N, classes)."""
    labels = strongest(probabilities, top)
    of_images = _scores(labels[:, 0], np.take_along_axis(probabilities, labels[:, :1], 1), class_names)
    listed = _scores(labels.ravel(), np.take_along_axis(probabilities, labels, 1), class_names)
    fields = columns.SCORES.field("top").type.value_type
    offsets = pa.array(np.arange(0, labels.size + 1, labels.shape[1], dtype=np.int32))
    lists = pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(listed, fields=list(fields)))
    return pa.table([pa.array(keys, pa.string()), *of_images, lists], schema=columns.SCORES)


def _scores(labels: Any, probabilities: Floats, class_names: pa.Array) -> list[pa.Array]:
    """Label, class_name and probability of each."""
    numbers = pa.array(labels, pa.int32())
    return [numbers, class_names.take(numbers), pa.array(probabilities.ravel(), pa.float32())]
