"""Where raw images come from. A source lists its images on the driver and reads one image's bytes on an executor.

Raw pixel formats come out as PGM (the header `P5 width height 255`, then the pixels), so that every source gives
encoded bytes and there is one way to treat an image.
"""

import gzip
import hashlib
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.config import InputError, SourceSettings
from pipelines.dataset.manifest import ImageClass, SplitName

Pixels = NDArray[np.uint8]


class Item(NamedTuple):
    """One line of a listing: where the bytes of one image are."""

    key: str
    """Its name in the source; unique."""
    uri: str
    offset: int
    """First byte of the image in the file at `uri` (for digits: the number of the image)."""
    length: int
    label: int
    split: SplitName | None
    """None: the source leaves the split to the hash of the key."""


@dataclass(frozen=True)
class Listing:
    """All images of a source and what they are of."""

    items: list[Item]
    classes: tuple[ImageClass, ...]
    description: str
    read: Callable[[str, int, int], bytes]
    """(uri, offset, length) -> encoded bytes of one image; runs on executors, so it must pickle by name."""
    fingerprint: str
    """Changes when the source's files do."""


def list_source(source: SourceSettings) -> Listing:
    """The listing of whatever `source` names; an InputError that names the missing or wrong file."""
    listing = {"digits": _list_digits, "idx": _list_idx}[source.kind](source)
    if not listing.items:
        raise InputError(f"{listing.description}: no images")
    return listing


def _classes(source: SourceSettings, count: int) -> tuple[ImageClass, ...]:
    names = source.class_names or tuple(map(str, range(count)))
    if len(names) < count:
        raise InputError(f"source.class_names has {len(names)} names for labels from 0 to {count - 1}")
    return tuple(ImageClass(index=index, words=words) for index, words in enumerate(names))


def pgm(pixels: bytes, height: int, width: int) -> bytes:
    """Greyscale uint8 pixels, in rows, as an image file."""
    return b"P5 %d %d 255\n" % (width, height) + pixels


# --- digits: scikit-learn's copy of the UCI optical digits, 8 x 8 pixels of 17 grey levels -------


@lru_cache(maxsize=1)
def _digits() -> tuple[Pixels, NDArray[np.int64]]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    return pixels, digits.target


def read_digit(uri: str, offset: int, length: int) -> bytes:
    return pgm(_digits()[0][offset].tobytes(), 8, 8)


def _list_digits(source: SourceSettings) -> Listing:
    pixels, labels = _digits()
    items = [
        Item(f"digits/{number:04d}", "sklearn.datasets.load_digits", number, 64, int(label), None)
        for number, label in enumerate(labels)
    ]
    return Listing(
        items,
        _classes(source, 10),
        "scikit-learn's handwritten digits",
        read_digit,
        hashlib.sha256(pixels.tobytes()).hexdigest(),
    )


# --- idx: the format of MNIST and Fashion-MNIST (http://yann.lecun.com/exdb/mnist, "File formats") ---

_IDX_MAGIC = {3: 2051, 1: 2049}
_IDX_PARTS: tuple[tuple[SplitName, str], ...] = (("train", "train"), ("val", "t10k"))


def _idx_bytes(path: str) -> bytes:
    """Content of a file, unpacked; read once a process for as long as the file stays what it is."""
    status = Path(path).stat()
    return _unpacked(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4)
def _unpacked(path: str, modified_ns: int, size_bytes: int) -> bytes:
    if path.endswith(".gz"):
        with gzip.open(path) as file:
            return file.read()
    return Path(path).read_bytes()


def _idx_array(path: Path, dimensions: int) -> Pixels:
    """The whole of an IDX file; an InputError that says what is wrong with it."""
    try:
        content = _idx_bytes(str(path))
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: not readable: {error}") from None
    header_bytes = 4 * (dimensions + 1)
    if len(content) < header_bytes:
        raise InputError(f"{path}: {len(content)} bytes are too few for an IDX header of {header_bytes}")
    magic, *shape = struct.unpack_from(f">{dimensions + 1}I", content)
    if magic != _IDX_MAGIC[dimensions]:
        raise InputError(f"{path}: magic number {magic}, expected {_IDX_MAGIC[dimensions]}")
    expected = header_bytes + int(np.prod(shape))
    if len(content) != expected:
        raise InputError(f"{path}: {len(content)} bytes, but its header {tuple(shape)} asks for {expected}")
    return np.frombuffer(content, np.uint8, offset=header_bytes).reshape(shape)


def read_idx(uri: str, offset: int, length: int) -> bytes:
    content = _idx_bytes(uri)
    height, width = struct.unpack_from(">2I", content, 8)
    return pgm(content[offset : offset + length], height, width)


def _idx_file(folder: Path, stem: str) -> Path:
    if not folder.is_dir():
        raise InputError(f"source.path = {folder}: no such folder")
    for name in (stem, f"{stem}.gz", stem.replace("-idx", ".idx")):
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"{folder}: neither {stem} nor {stem}.gz is there")


def _list_idx(source: SourceSettings) -> Listing:
    assert source.path is not None, "SourceSettings checks this"
    items: list[Item] = []
    labels_seen = 0
    checksum = hashlib.sha256()
    for split, part in _IDX_PARTS:
        if split == "val" and not any(source.path.glob(f"{part}-*")):
            items = [item._replace(split=None) for item in items]
            continue
        images_path = _idx_file(source.path, f"{part}-images-idx3-ubyte")
        images = _idx_array(images_path, 3)
        labels_path = _idx_file(source.path, f"{part}-labels-idx1-ubyte")
        labels = _idx_array(labels_path, 1)
        if len(images) != len(labels):
            raise InputError(f"{labels_path}: {len(labels)} labels for the {len(images)} images of {images_path}")
        items += _idx_items(split, images_path, images, labels)
        labels_seen = max(labels_seen, int(labels.max()) + 1 if len(labels) else 0)
        checksum.update(images.data)
        checksum.update(labels.data)
    return Listing(items, _classes(source, labels_seen), str(source.path), read_idx, checksum.hexdigest())


def _idx_items(split: SplitName, path: Path, images: Pixels, labels: Pixels) -> Iterator[Item]:
    size = images[0].size if len(images) else 0
    for number, label in enumerate(labels):
        yield Item(f"{split}/{number:05d}", str(path.absolute()), 16 + number * size, size, int(label), split)
