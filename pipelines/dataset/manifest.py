"""The manifest: what a dataset is. Written last, in one atomic replace; a dataset without one does not exist."""

import hashlib
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from xxhash import xxh3_64

from pipelines.config import InputError, digest_of
from pipelines.dataset import columns
from pipelines.dataset.links import refuse_links_out
from pipelines.dataset.storage import Address, Location

FILE_NAME = "manifest.json"
FORMAT_VERSION: Final = 3

SplitName = Literal["train", "val"]
SPLITS: Final[tuple[SplitName, SplitName]] = ("train", "val")

_SIDES = (32, 64, 128, 192, 256, 320, 384, 448, 512, 640, 768, 1024, 2048, 4096)
HISTOGRAM_EDGES: Final = {
    "source height": _SIDES,
    "source width": _SIDES,
    "stored bytes": tuple(2**power for power in range(8, 22)),
}
"""What is counted of every image, and where a bin ends and the next begins: pixels, pixels, bytes."""


_Name = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
_Path = Annotated[str, Field(pattern=r"^\w[\w.-]*(/\w[\w.-]*)*$")]
"""Below the folder that it is put behind: a manifest may come from anybody, and files that it names may be removed."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class ParquetFile(_Record):
    path: _Path
    """Below the version's folder: `train/part-00000.parquet`."""
    row_groups: tuple[int, ...]
    """Rows of each row group, in the file's order."""
    group_checksums: tuple[str, ...]
    """`group_checksum` of each row group."""
    size_bytes: int
    sha256: str

    @property
    def rows(self) -> int:
        return sum(self.row_groups)


class Split(_Record):
    files: tuple[ParquetFile, ...]
    class_counts: tuple[int, ...]
    """Images of each class, in label order."""

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files)


class ImageClass(_Record):
    index: int
    """The label; for ImageNet the position in sorted wnids."""
    words: str
    wnid: str | None = None
    ilsvrc_id: int | None = None


class Statistics(_Record):
    """Of the pixels of the training images, on the [0, 1] scale; channels in RGB order."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]
    """Of the channels with each other."""
    eigenvalues: tuple[float, ...]
    """Of the channels' covariance, largest first."""
    eigenvectors: tuple[tuple[float, ...], ...]
    """A row a channel, a column an eigenvalue: PCA lighting adds eigenvectors @ (alpha * eigenvalues)."""


class Histogram(_Record):
    """How many images have a value in each bin; images are counted once, not once a variant."""

    edges: tuple[int, ...]
    counts: tuple[int, ...]
    """One more than edges: below the first, from each edge up to the next, from the last up."""


class Manifest(_Record):
    """A dataset: its files, classes and statistics, and what it was made from."""

    format_version: Literal[3] = FORMAT_VERSION
    version: _Name
    """Folder, beside the manifest, that the files lie in: `v-<digest of the work asked for>`."""
    digest: str
    """Of the content: equal digests are equal bytes in equal order."""
    splits: dict[SplitName, Split]
    rejects: dict[str, int]
    """Images left out, by reason; one by one in the version's `rejects/`."""
    classes: tuple[ImageClass, ...]
    channels: Literal[1, 3]
    image_format: Literal["jpeg", "png"]
    variants: tuple[str, ...]
    """What the column `variant` numbers: the image itself, then offline augmentations of training images."""
    statistics: Statistics
    histograms: dict[str, Histogram]
    """By name, of both splits."""
    source: str
    """Where the images came from, for people."""
    configuration: dict[str, Any]
    """Settings of the job that made it."""
    run_id: str | None = None
    """MLflow run that holds its report."""

    @property
    def classes_digest(self) -> str:
        """Of the class table: what labels mean."""
        return digest_of([entry.model_dump(mode="json") for entry in self.classes])

    @property
    def class_names(self) -> list[str]:
        """By label: the first of a class's words."""
        return [entry.words.split(",")[0] for entry in self.classes]

    def split(self, name: SplitName, root: Address) -> Split:
        """That split; an InputError if it has no images."""
        split = self.splits[name]
        if not split.rows:
            change = "larger" if name == "val" else "smaller"
            raise InputError(f"{root}: the {name} split is empty; preprocess with a {change} val_fraction")
        return split


def group_checksum(table: pa.Table) -> str:
    """xxh3 of what the loader reads of a row group, in hexadecimal: fast enough to be checked at every reading.

    It tells of accidents. `sha256` is what an attacker cannot match.
    """
    checksum = xxh3_64()
    for name in columns.LOADED:
        values = whole(table.column(name))
        if pa.types.is_integer(values.type):
            checksum.update(np.ascontiguousarray(values.to_numpy(), np.int32).data)
        else:
            offsets = offsets_of(values)
            checksum.update(np.diff(offsets).data)
            checksum.update(memoryview(values.buffers()[2])[offsets[0] : offsets[-1]])
    return checksum.hexdigest()


def whole(column: pa.ChunkedArray) -> pa.Array:
    """The column in one piece; Arrow's own `combine_chunks` copies what is one piece already."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def offsets_of(values: pa.Array) -> NDArray[np.int32]:
    """Where each value of a string or binary array starts in its data buffer, and where the last one ends."""
    return np.frombuffer(values.buffers()[1], np.int32)[values.offset : values.offset + len(values) + 1]


def content_digest(splits: dict[SplitName, Split]) -> str:
    """Of names, sizes in rows and checksums of all files."""
    return digest_of({name: [file.model_dump(mode="json") for file in split.files] for name, split in splits.items()})


def write_manifest(manifest: Manifest, root: Address) -> None:
    """Make `root` be this dataset: readers see the manifest before or this one, never a part."""
    (Location.at(root) / FILE_NAME).write_bytes(manifest.model_dump_json(indent=1).encode())


def read_manifest(root: Address) -> Manifest:
    """The dataset at `root`; an InputError that names the file if there is none, it is damaged or a link leads out."""
    location = Location.at(root) / FILE_NAME
    refuse_links_out(Location.at(root), FILE_NAME)
    try:
        manifest = Manifest.model_validate_json(location.read_bytes())
    except FileNotFoundError:
        raise InputError(
            f"{root}: no dataset here ({FILE_NAME} is missing); make one with jobs/preprocess.py"
        ) from None
    except NotADirectoryError:
        raise InputError(f"{root}: not a folder; a dataset is the folder that {FILE_NAME} lies in") from None
    except ValidationError as error:
        first = error.errors()[0]
        what = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise InputError(
            f"{location}: not a manifest of format {FORMAT_VERSION} ({what}); "
            "preprocess again, or use the Strata that wrote it"
        ) from None
    refuse_links_out(Location.at(root), manifest.version)
    return manifest


def find_damage(manifest: Manifest, root: Address) -> dict[str, str]:
    """What is wrong with each missing or altered file, by its path in the version, going by size and checksum."""
    folder = Location.at(root) / manifest.version
    damage: dict[str, str] = {}
    for file in (file for split in manifest.splits.values() for file in split.files):
        location = folder / file.path
        size = location.size_bytes
        if size is None:
            damage[file.path] = f"{location} is missing"
        elif size != file.size_bytes or checksum_of(location) != file.sha256:
            damage[file.path] = f"{location} was altered"
    return damage


def sha256_of(path: Path) -> str:
    """Checksum of a local file, in hexadecimal."""
    return checksum_of(Location.at(path))


def checksum_of(location: Location) -> str:
    """sha256 of a file wherever it lies, in hexadecimal."""
    digest = hashlib.sha256()
    with location.open() as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
