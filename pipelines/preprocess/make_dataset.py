"""The whole of preprocessing: a source to a published dataset."""

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from petastorm.etl.dataset_metadata import materialize_dataset
from pyspark.sql import SparkSession

from pipelines.config import InputError, PreprocessSettings, digest_of
from pipelines.dataset import columns
from pipelines.dataset.manifest import (
    FILE_NAME,
    FORMAT_VERSION,
    Manifest,
    Split,
    SplitName,
    content_digest,
    find_damage,
    read_manifest,
    sync_folder,
    write_manifest,
)
from pipelines.dataset.unischema import unischema
from pipelines.preprocess.session import progress_lines
from pipelines.preprocess.shuffle import assign
from pipelines.preprocess.sources import Item, Listing, list_source
from pipelines.preprocess.statistics import statistics
from pipelines.preprocess.write import RECORD_DDL, TASK_DDL, FileRecord, WriteFiles, pack


def make_dataset(spark: SparkSession, settings: PreprocessSettings) -> Manifest:
    """Make the dataset that `settings` ask for and publish its manifest; if it is there already, only check it.

    Raises InputError if the source is wrong, no image is usable or too many are rejected; a dataset that was published
    before then stays as it was.
    """
    root = settings.output.path.absolute()
    if any(mark in str(root) for mark in "#?"):
        raise InputError(f"output.path = {root}: Petastorm takes a path for a URL, so it must not have # or ?")
    listing = list_source(settings.source)
    version = _version(settings, listing)
    if (made := _already_made(root, version)) is not None:
        print(f"{root} holds this very dataset already")
        return made
    splits = assign(listing.items, settings)
    print(
        f"{listing.description}: {len(splits['train'])} images to train, {len(splits['val'])} to validate", flush=True
    )
    unfinished = root / f".{version}.{os.getpid()}.tmp"
    records = _write(spark, settings, listing, splits, unfinished)
    manifest = _manifest(settings, listing, version, records)
    for folder in (unfinished, *(path for path in unfinished.iterdir() if path.is_dir())):
        sync_folder(folder)
    shutil.rmtree(root / version, ignore_errors=True)  # damaged, or left by a job that ended before its manifest
    unfinished.rename(root / version)
    write_manifest(manifest, root)
    return manifest


def _version(settings: PreprocessSettings, listing: Listing) -> str:
    asked = settings.model_dump(mode="json", exclude={"output": {"path"}, "source": {"path"}})
    return "v-" + digest_of([FORMAT_VERSION, asked, listing.fingerprint])[:12]


def _already_made(root: Path, version: str) -> Manifest | None:
    if not (root / FILE_NAME).exists():
        return None
    manifest = read_manifest(root)
    if manifest.version != version:
        return None
    if damage := find_damage(manifest, root):
        print(f"{damage}; making the dataset again", flush=True)
        return None
    return manifest


def _write(
    spark: SparkSession,
    settings: PreprocessSettings,
    listing: Listing,
    splits: dict[SplitName, list[Item]],
    folder: Path,
) -> list[FileRecord]:
    """Write every image with Spark; the records of all files by name. Refuses too few usable ones."""
    files = [file for name, items in splits.items() for file in _files(name, items, settings.output.rows_per_file)]
    task = WriteFiles(str(folder), settings.image, settings.output.rows_per_group, listing.read)
    with ExitStack() as stack:
        for name, items in splits.items():
            (folder / name).mkdir(parents=True)
            if items:
                schema = unischema(settings.image)
                stack.enter_context(materialize_dataset(spark, f"file://{folder / name}", schema))
        tasks = spark.createDataFrame(spark.sparkContext.parallelize(files, len(files)), TASK_DDL)
        stack.enter_context(progress_lines(spark, "images", sum(map(len, splits.values())), len(files)))
        records = [FileRecord.from_json(row.record) for row in tasks.mapInArrow(task, RECORD_DDL).collect()]
        # In here: materialize_dataset reads what was written as it ends, and would stumble over nothing first.
        _write_rejects(records, folder)
        _refuse_unusable(records, len(listing.items), settings, folder)
    return sorted(records, key=lambda record: record.path)


def _files(name: SplitName, items: Sequence[Item], rows_per_file: int) -> Iterator[tuple[str, bytes]]:
    """The files of a split as rows of TASK_DDL."""
    for number, start in enumerate(range(0, len(items), rows_per_file)):
        yield f"{name}/part-{number:05d}.parquet", pack(items[start : start + rows_per_file])


def _write_rejects(records: Sequence[FileRecord], folder: Path) -> None:
    rejects = [reject for record in records for reject in record.rejects]
    if rejects:
        (folder / "rejects").mkdir()
        pq.write_table(pa.Table.from_pylist(rejects, columns.REJECTS), folder / "rejects" / "part-00000.parquet")


def _refuse_unusable(records: Sequence[FileRecord], images: int, settings: PreprocessSettings, folder: Path) -> None:
    reasons = _reasons(records)
    if not any(record.row_groups for record in records if record.path.startswith("train/")):
        raise InputError(f"no training image is usable ({reasons}); each is listed in {folder}/rejects")
    if sum(reasons.values()) > settings.max_reject_fraction * images:
        raise InputError(
            f"{sum(reasons.values())} of {images} images were rejected ({reasons}), more than max_reject_fraction = "
            f"{settings.max_reject_fraction} allows; each is listed in {folder}/rejects. Nothing was published"
        )


def _reasons(records: Sequence[FileRecord]) -> dict[str, int]:
    return dict(sorted(Counter(reject["reason"] for record in records for reject in record.rejects).items()))


def _manifest(settings: PreprocessSettings, listing: Listing, version: str, records: Sequence[FileRecord]) -> Manifest:
    by_split: dict[SplitName, list[FileRecord]] = {
        name: [record for record in records if record.path.startswith(f"{name}/")] for name in ("train", "val")
    }
    splits = {name: _split(members, len(listing.classes)) for name, members in by_split.items()}
    return Manifest(
        version=version,
        digest=content_digest(splits),
        splits=splits,
        rejects=_reasons(records),
        classes=listing.classes,
        channels=settings.image.channels,
        image_format=settings.image.format,
        statistics=statistics(by_split["train"]),
        source=listing.description,
        configuration=settings.model_dump(mode="json"),
    )


def _split(records: Sequence[FileRecord], classes: int) -> Split:
    counts = Counter[int]()
    for record in records:
        counts.update(record.class_counts)
    return Split(
        files=tuple(record.parquet_file() for record in records if record.row_groups),
        class_counts=tuple(counts[label] for label in range(classes)),
    )
