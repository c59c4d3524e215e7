"""The format of MNIST and Fashion-MNIST (http://yann.lecun.com/exdb/mnist, "File formats"): four files or their .gz."""

import gzip
import hashlib
import io
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.config import InputError, SourceSettings
from pipelines.dataset.manifest import SplitName
from pipelines.dataset.storage import Location
from pipelines.preprocess.sources.kept import Kept
from pipelines.preprocess.sources.listing import Item, Listing, class_table, root_of, table_of
from pipelines.preprocess.sources.raw import pgm

_MAGIC = {3: 2051, 1: 2049}
_LONGEST_HEADER = 16
_MOST_BYTES = 1 << 30
"""Unpacked; the 814,255 images of the largest EMNIST take 0.6 of it."""
_PARTS: tuple[tuple[SplitName, str], ...] = (("train", "train"), ("val", "t10k"))


class _Idx(NamedTuple):
    location: Location
    array: NDArray[np.uint8]


_UNPACKED = Kept[bytes](4)


def _unpacked(location: Location) -> bytes:
    """Content of a file, read once a process."""
    return _UNPACKED.get(str(location), lambda: _unpack(location))


def _unpack(location: Location) -> bytes:
    """Of a packed file no more than its header announces, and a byte: a few kilobytes can hold gigabytes."""
    content = location.read_bytes()
    if not location.name.endswith(".gz"):
        return content
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        header = file.read(_LONGEST_HEADER)
        return header + file.read(max(0, _announced(header) - len(header)) + 1)


def _announced(header: bytes) -> int:
    """Bytes of the whole file, by its header; 0 if that is none, or of more than any such dataset has."""
    dimensions = next((count for count, magic in _MAGIC.items() if header.startswith(struct.pack(">I", magic))), 0)
    if not dimensions or len(header) < 4 * (dimensions + 1):
        return 0
    size_bytes = 4 * (dimensions + 1) + math.prod(struct.unpack_from(f">{dimensions}I", header, 4))
    return size_bytes if size_bytes <= _MOST_BYTES else 0


def _array(location: Location, dimensions: int) -> _Idx:
    """The whole of an IDX file; an InputError that says what is wrong with it."""
    try:
        content = _unpacked(location)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{location}: not readable: {error}") from None
    header_bytes = 4 * (dimensions + 1)
    if len(content) < header_bytes:
        raise InputError(f"{location}: {len(content)} bytes are too few for an IDX header of {header_bytes}")
    magic, *shape = struct.unpack_from(f">{dimensions + 1}I", content)
    if magic != _MAGIC[dimensions]:
        raise InputError(f"{location}: magic number {magic}, expected {_MAGIC[dimensions]}")
    expected = header_bytes + math.prod(shape)
    if len(content) != expected:
        raise InputError(f"{location}: {len(content)} bytes, but its header {tuple(shape)} asks for {expected}")
    return _Idx(location, np.frombuffer(content, np.uint8, offset=header_bytes).reshape(shape))


@dataclass(frozen=True)
class ReadIdx:
    """`offset` counts in the unpacked file."""

    root: Location

    def __call__(self, file: str, offset: int, length: int) -> bytes:
        content = _unpacked(self.root / file)
        height, width = struct.unpack_from(">2I", content, 8)
        return pgm(content[offset : offset + length], height, width)


def _find(folder: Location, stem: str) -> Location:
    for name in (stem, f"{stem}.gz", stem.replace("-idx", ".idx")):
        if (folder / name).size_bytes is not None:
            return folder / name
    raise InputError(f"{folder}: neither {stem} nor {stem}.gz is there")


def list_idx(source: SourceSettings) -> Listing:
    """Keys are `train/00000` and `val/00000`; without the t10k files the split is left to the hash."""
    root = root_of(source)
    _UNPACKED.forget()  # the files may have changed since another listing in this process
    items: list[Item] = []
    labels_seen = 0
    checksum = hashlib.sha256()
    for split, part in _PARTS:
        if split == "val" and not any(info.base_name.startswith(f"{part}-") for info in root.files()):
            items = [item._replace(split=None) for item in items]
            continue
        images = _array(_find(root, f"{part}-images-idx3-ubyte"), 3)
        labels = _array(_find(root, f"{part}-labels-idx1-ubyte"), 1)
        if len(images.array) != len(labels.array):
            raise InputError(
                f"{labels.location}: {len(labels.array)} labels for the {len(images.array)} images of {images.location}"
            )
        items += _items(split, images, labels)
        labels_seen = max(labels_seen, int(labels.array.max()) + 1 if len(labels.array) else 0)
        checksum.update(images.array.data)
        checksum.update(labels.array.data)
    classes = class_table(source, [str(label) for label in range(labels_seen)])
    return Listing(table_of(items), classes, f"IDX files in {root}", str(root), ReadIdx(root), checksum.hexdigest())


def _items(split: SplitName, images: _Idx, labels: _Idx) -> Iterator[Item]:
    size = images.array[0].size if len(images.array) else 0
    for number, label in enumerate(labels.array):
        yield Item(f"{split}/{number:05d}", images.location.name, 16 + number * size, size, int(label), split)
