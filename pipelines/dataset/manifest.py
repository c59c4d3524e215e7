"""The manifest: what a dataset is. Written last, in one atomic replace; a dataset without one does not exist."""

import hashlib
import os
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pipelines.config import InputError, digest_of

FILE_NAME = "manifest.json"
FORMAT_VERSION: Final = 1

SplitName = Literal["train", "val"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class ParquetFile(_Record):
    path: str
    """Below the version's folder: `train/part-00000.parquet`."""
    row_groups: tuple[int, ...]
    """Rows of each row group, in the file's order."""
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
    eigenvalues: tuple[float, ...]
    """Of the channels' covariance, largest first."""
    eigenvectors: tuple[tuple[float, ...], ...]
    """A row a channel, a column an eigenvalue: PCA lighting adds eigenvectors @ (alpha * eigenvalues)."""


class Manifest(_Record):
    """A dataset: its files, classes and statistics, and what it was made from."""

    format_version: Literal[1] = FORMAT_VERSION
    version: str
    """Folder, beside the manifest, that the files lie in: `v-<digest of the work asked for>`."""
    digest: str
    """Of the content: equal digests are equal bytes in equal order."""
    splits: dict[SplitName, Split]
    rejects: dict[str, int]
    """Images left out, by reason; one by one in the version's `rejects/`."""
    classes: tuple[ImageClass, ...]
    channels: Literal[1, 3]
    image_format: Literal["jpeg", "png"]
    statistics: Statistics
    source: str
    """Where the images came from, for people."""
    configuration: dict[str, Any]
    """Settings of the job that made it."""

    def split(self, name: SplitName, root: Path) -> Split:
        """That split; an InputError if it has no images."""
        split = self.splits[name]
        if not split.rows:
            change = "larger" if name == "val" else "smaller"
            raise InputError(f"{root}: the {name} split is empty; preprocess with a {change} val_fraction")
        return split


def content_digest(splits: dict[SplitName, Split]) -> str:
    """Of names, sizes in rows and checksums of all files."""
    return digest_of({name: [file.model_dump(mode="json") for file in split.files] for name, split in splits.items()})


def write_manifest(manifest: Manifest, root: Path) -> None:
    """Make `root` be this dataset: readers see the manifest before or this one, never a part."""
    temporary = root / f"{FILE_NAME}.tmp"
    with temporary.open("w", encoding="utf-8") as file:
        file.write(manifest.model_dump_json(indent=1))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(root / FILE_NAME)
    sync_folder(root)


def read_manifest(root: Path) -> Manifest:
    """The dataset at `root`; an InputError that names the file if there is none or it is damaged."""
    path = root / FILE_NAME
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise InputError(
            f"{root}: no dataset here ({FILE_NAME} is missing); make one with jobs/preprocess.py"
        ) from None
    except NotADirectoryError:
        raise InputError(f"{root}: not a folder; a dataset is the folder that {FILE_NAME} lies in") from None
    except ValidationError as error:
        raise InputError(f"{path}: not a manifest of format {FORMAT_VERSION}: {error}") from None


def find_damage(manifest: Manifest, root: Path) -> str | None:
    """What the first missing or altered file is and how, by its size and checksum; None if all is well."""
    for split in manifest.splits.values():
        for file in split.files:
            path = root / manifest.version / file.path
            if not path.is_file():
                return f"{path} is missing"
            if path.stat().st_size != file.size_bytes or sha256_of(path) != file.sha256:
                return f"{path} was altered"
    return None


def sha256_of(path: Path) -> str:
    """Checksum of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sync_folder(folder: Path) -> None:
    """Have a rename inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
