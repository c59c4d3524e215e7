"""What a task tells the driver of one file it wrote, and the journal that keeps it: a rerun goes on from there."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FileInfo

from pipelines.config import InputError
from pipelines.dataset import columns
from pipelines.dataset.manifest import HISTOGRAM_EDGES, ParquetFile
from pipelines.dataset.storage import Location
from pipelines.preprocess.image import Reject, Stored

_ENCODERS = ("simplejpeg", "opencv-python-headless", "pillow", "pyarrow", "numpy")


@dataclass
class FileRecord:
    """Of one file; without row groups if every image was rejected, with a failure if it could not be written."""

    path: str
    row_groups: list[int] = field(default_factory=list)
    group_checksums: list[str] = field(default_factory=list)
    size_bytes: int = 0
    sha256: str = ""
    class_counts: dict[int, int] = field(default_factory=dict)
    pixels: int = 0
    """Of variant 0, like the sums and histograms."""
    pixel_sum: list[int] = field(default_factory=list)
    product_sum: list[list[int]] = field(default_factory=list)
    histograms: dict[str, list[int]] = field(default_factory=dict)
    """Images by bin, for each name of HISTOGRAM_EDGES."""
    rejects: list[dict[str, str]] = field(default_factory=list)
    failure: str = ""
    kind_of_failure: str = ""
    """no_room, io (may succeed if tried again) or input (will not)."""

    def count(self, label: int, variant: int, stored: Stored) -> None:
        """Add one image to the counts and sums."""
        self.class_counts[label] = self.class_counts.get(label, 0) + 1
        if variant:
            return
        self.pixels += stored.height * stored.width
        zero = np.zeros_like(stored.product_sum)
        self.pixel_sum = (np.array(self.pixel_sum or zero[0]) + stored.pixel_sum).tolist()
        self.product_sum = (np.array(self.product_sum or zero) + stored.product_sum).tolist()
        measured = (stored.source_height, stored.source_width, len(stored.encoded))
        for (name, edges), value in zip(HISTOGRAM_EDGES.items(), measured, strict=True):
            counts = self.histograms.setdefault(name, [0] * (len(edges) + 1))
            counts[int(np.searchsorted(edges, value, side="right"))] += 1

    def reject(self, key: str, uri: str, reject: Reject) -> None:
        """Add one image that cannot be used."""
        self.rejects.append({"key": key, "uri": uri, "reason": reject.reason, "detail": reject.detail})

    def to_json(self) -> str:
        return json.dumps(self.__dict__)

    @staticmethod
    def from_json(text: str) -> "FileRecord":
        record = FileRecord(**json.loads(text))
        record.class_counts = {int(label): count for label, count in record.class_counts.items()}
        return record

    def parquet_file(self) -> ParquetFile:
        return ParquetFile(
            path=self.path,
            row_groups=tuple(self.row_groups),
            group_checksums=tuple(self.group_checksums),
            size_bytes=self.size_bytes,
            sha256=self.sha256,
        )


class Journal:
    """Records of the files of one version that are committed: a file of JSON lines for each wave."""

    def __init__(self, folder: Location) -> None:
        self._folder = folder
        self._made_with = json.dumps({name: version(name) for name in _ENCODERS})

    def read(self) -> list[FileRecord]:
        """Of all committed waves, by path; not of those that other versions of the encoders wrote: bytes may differ."""
        records: dict[str, FileRecord] = {}
        for info in self._waves():
            made_with, *lines = (self._folder / info.base_name).read_bytes().decode().splitlines()
            if made_with == self._made_with:
                records |= {record.path: record for record in map(FileRecord.from_json, lines)}
        return [records[path] for path in sorted(records)]

    def _waves(self) -> list[FileInfo]:
        """Files that are whole; a killed job may have left another."""
        return [
            info for info in self._folder.files() if info.base_name.startswith("wave-") and info.extension == "jsonl"
        ]

    def commit(self, records: Sequence[FileRecord]) -> None:
        """Keep the records of one wave, all or none."""
        number = len(self._waves())
        lines = [self._made_with, *(record.to_json() for record in records)]
        (self._folder / f"wave-{number:05d}.jsonl").write_bytes("\n".join(lines).encode())


def reasons(rejects: Iterable[dict[str, str]]) -> dict[str, int]:
    """Rejects by reason."""
    return dict(sorted(Counter(reject["reason"] for reject in rejects).items()))


def write_rejects(rejects: Sequence[dict[str, str]], folder: Location) -> None:
    """Each as a row of columns.REJECTS, below the folder; no file if there are none."""
    if rejects:
        with (folder / "rejects" / "part-00000.parquet").writing() as temporary:
            pq.write_table(pa.Table.from_pylist(rejects, columns.REJECTS), str(temporary))


def told(rejects: Sequence[dict[str, str]], folder: Location) -> str:
    """Counts, the first, and where `write_rejects` put all."""
    first = f"; the first is {rejects[0]['uri']}: {rejects[0]['detail']}" if rejects else ""
    return f"{reasons(rejects)}{first}; each is listed in {folder / 'rejects'}"


def refuse_too_many(rejects: Sequence[dict[str, str]], images: int, fraction: float, folder: Location) -> None:
    """If there are more than this fraction of the images: write them below the folder, and raise an InputError."""
    if len(rejects) > fraction * images:
        write_rejects(rejects, folder)
        raise InputError(
            f"{len(rejects)} of {images} images were rejected so far, more than max_reject_fraction = {fraction} "
            f"allows: {told(rejects, folder)}. Nothing was published"
        )


def rejects_of(records: Iterable[FileRecord]) -> list[dict[str, str]]:
    """Rows of the rejects' table, by key."""
    return sorted((reject for record in records for reject in record.rejects), key=lambda reject: reject["key"])
