"""ILSVRC2012's development kit: which classes there are, and the labels of the validation images.

Its numbers are ILSVRC ids, 1 to 1000, in an order of their own; a label of ours is a position in sorted wnids.
"""

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from pipelines.config import InputError
from pipelines.dataset.storage import Location
from pipelines.preprocess.sources.imagenet import Synset, Synsets, ValLabels

ARCHIVE = "ILSVRC2012_devkit_t12.tar.gz"
FOLDER = "ILSVRC2012_devkit_t12"
_MOST_BYTES = 64 << 20
_META = "data/meta.mat"
_TRUTH = "data/ILSVRC2012_validation_ground_truth.txt"


class Devkit(NamedTuple):
    synsets: Synsets
    val_labels: ValLabels


def find_devkit(root: Location) -> Location | None:
    """The archive, or the folder that it was unpacked to; None if neither is there."""
    if (root / ARCHIVE).size_bytes is not None:
        return root / ARCHIVE
    return root / FOLDER if (root / FOLDER).is_folder() else None


def read_devkit(place: Location) -> Devkit:
    """From the archive or folder; an InputError that names what is wrong in it."""
    archived = place.name == ARCHIVE
    meta, truth = _in_archive(place) if archived else _in_folder(place)
    synsets = Synsets.sorted(_synsets(meta, f"{place}, {_META}"), str(place))
    return Devkit(synsets, _val_labels(truth, synsets, f"{place}, {_TRUTH}"))


def _in_archive(archive: Location) -> tuple[bytes, bytes]:
    """meta.mat and the ground truth; the archive's 2.5 MB fit in memory, and so does what they may unpack to."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(archive.read_bytes())) as packed:
            unpacked = packed.read(_MOST_BYTES + 1)  # to its end, so that its checksum is checked
        if len(unpacked) > _MOST_BYTES:
            raise tarfile.ReadError(f"it unpacks to more than {_MOST_BYTES} bytes")
        with tarfile.open(fileobj=io.BytesIO(unpacked)) as tar:
            return _content(tar, _META, archive), _content(tar, _TRUTH, archive)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise InputError(f"{archive}: not readable: {error}; copy it again") from None


def _content(tar: tarfile.TarFile, path: str, archive: Location) -> bytes:
    for member in tar:
        if member.isfile() and member.name.endswith(path):
            file = tar.extractfile(member)
            assert file is not None, "it is a file"
            return file.read()
    raise InputError(f"{archive}: {path} is not in it")


def _in_folder(folder: Location) -> tuple[bytes, bytes]:
    for path in (_META, _TRUTH):
        if (folder / path).size_bytes is None:
            raise InputError(f"{folder}: {path} is not in it")
    return (folder / _META).read_bytes(), (folder / _TRUTH).read_bytes()


def _synsets(meta: bytes, name: str) -> Iterator[Synset]:
    """The leaves of the tree of synsets: those that images are of."""
    from scipy.io import loadmat

    try:
        synsets = np.atleast_1d(loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"])
        fields = synsets[["ILSVRC2012_ID", "WNID", "words", "num_children"]].tolist()
    except Exception as error:  # a damaged file fails in scipy in ways of all kinds
        raise InputError(f"{name}: no table of synsets: {error}") from None
    for ilsvrc_id, wnid, words, num_children in fields:
        if not num_children:
            yield Synset(str(wnid), str(words), int(ilsvrc_id))


def _val_labels(truth: bytes, synsets: Synsets, name: str) -> ValLabels:
    """Line i is of `ILSVRC2012_val_<i>`: ILSVRC id, whose synset has the wnid, whose position is the label."""
    label_of = {str(synset.ilsvrc_id): label for label, synset in enumerate(synsets.members)}
    if len(label_of) < len(synsets.members):
        raise InputError(f"{synsets.source}: two classes have one ILSVRC id")
    labels: dict[str, int] = {}
    for number, line in enumerate(truth.decode(errors="replace").split(), start=1):
        if line not in label_of:
            raise InputError(f"{name}: line {number} is {line!r}, which is the ILSVRC id of no class")
        labels[f"ILSVRC2012_val_{number:08d}"] = label_of[line]
    return ValLabels(labels, name)
