"""The whole of preprocessing: a source to a published dataset."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from petastorm.etl.dataset_metadata import materialize_dataset
from pyspark.sql import SparkSession

from pipelines.config import InputError, PreprocessSettings, digest_of
from pipelines.dataset.links import refuse_links_out
from pipelines.dataset.manifest import (
    FILE_NAME,
    FORMAT_VERSION,
    SPLITS,
    Manifest,
    SplitName,
    content_digest,
    find_damage,
    read_manifest,
    write_manifest,
)
from pipelines.dataset.petastorm_files import petastorm_files
from pipelines.dataset.storage import Location
from pipelines.dataset.unischema import unischema
from pipelines.images.steps import PrincipalComponents
from pipelines.preprocess.records import FileRecord, Journal, reasons, refuse_too_many, rejects_of, told, write_rejects
from pipelines.preprocess.report import draw_report
from pipelines.preprocess.shuffle import assign
from pipelines.preprocess.sources import list_source
from pipelines.preprocess.sources.listing import Listing
from pipelines.preprocess.statistics import histograms, split_of, statistics
from pipelines.preprocess.variants import Variants
from pipelines.preprocess.waves import Waves, cut
from pipelines.preprocess.write import WriteFiles

LogReport = Callable[[Manifest, Location], str]
"""Keeps a report somewhere, given the dataset and the report's folder; returns a run id."""


def make_dataset(spark: SparkSession, settings: PreprocessSettings, log: LogReport | None = None) -> Manifest:
    """Make the dataset that `settings` ask for and publish its manifest; if it is there already, only check it.

    Raises InputError if the source is wrong, no image is usable, too many are rejected or a file cannot be written; a
    dataset that was published before then stays as it was, and the same call goes on after what is written.
    """
    root = _root(settings)
    listing = list_source(settings.source)
    version = _version(settings, listing)
    refuse_links_out(root, version)  # also where there is no manifest yet: what follows writes there, and removes
    if (made := _already_made(root, version)) is not None:
        print(f"{root} holds this very dataset already")
        if settings.output.prune:
            _prune(root, version)
        return made
    folder = root / version
    records = _write(spark, settings, listing, folder)
    rejects = _rejects(records, listing)
    write_rejects(rejects, folder)
    manifest = _manifest(settings, listing, version, records, rejects)
    draw_report(manifest, folder, rejects)
    if log:
        manifest = manifest.model_copy(update={"run_id": log(manifest, folder / "report")})
    write_manifest(manifest, root)
    if settings.output.prune:
        _prune(root, version)
    return manifest


def _root(settings: PreprocessSettings) -> Location:
    root = Location.at(settings.output.path)
    if any(mark in root.path for mark in "#?"):
        raise InputError(f"output.path = {root}: Petastorm takes a path for a URL, so it must not have # or ?")
    return root


def _version(settings: PreprocessSettings, listing: Listing) -> str:
    asked = {
        "source": settings.source.model_dump(mode="json", include={"class_names", "follow_links"}),
        "output": settings.output.model_dump(mode="json", include={"rows_per_group", "rows_per_file"}),
        **settings.model_dump(mode="json", include={"image", "augment", "val_fraction", "seed"}),
    }
    return "v-" + digest_of([FORMAT_VERSION, asked, listing.fingerprint])[:12]


def _already_made(root: Location, version: str) -> Manifest | None:
    if (root / FILE_NAME).size_bytes is None:
        return None
    try:
        manifest = read_manifest(root)
    except InputError as error:
        print(f"{error}; it will be replaced", flush=True)
        return None
    if manifest.version != version:
        return None
    damage = find_damage(manifest, root)
    for path, what in damage.items():
        print(f"{what}; making it again", flush=True)
        (root / version / path).remove()
    return None if damage else manifest


def _write(spark: SparkSession, settings: PreprocessSettings, listing: Listing, folder: Location) -> list[FileRecord]:
    """Write every image and variant with Spark; the records of all files by path."""
    splits = assign(listing, settings)
    variants = Variants(settings.image, settings.augment, settings.seed)
    numbers = tuple(range(len(variants.names)))
    print(
        f"{listing.description}: {len(splits['train'])} images to train"
        f"{f' in {len(numbers)} variants' if len(numbers) > 1 else ''}, {len(splits['val'])} to validate",
        flush=True,
    )
    rows_per_file = settings.output.rows_per_file
    at_once = (0,) if variants.need_components else numbers
    files = [
        *cut("train/part", splits["train"], at_once, rows_per_file),
        *cut("val/part", splits["val"], (0,), rows_per_file),
    ]
    images = len(listing.items) + len(listing.rejects)

    def check(records: Sequence[FileRecord]) -> None:
        refuse_too_many(_rejects(records, listing), images, settings.max_reject_fraction, folder)

    waves = Waves(spark, Journal(folder / "journal"), check, settings.output.files_per_wave)
    writer = WriteFiles(
        folder, variants, settings.output.rows_per_group, listing.read, listing.root, listing.read_in_file_order
    )
    records = waves.write(files, writer)
    _refuse_empty(records, listing, folder)
    if len(numbers) > len(at_once):
        found = statistics(_of(records, "train"))
        lit = replace(variants, components=PrincipalComponents(found.eigenvalues, found.eigenvectors))
        more = list(cut("train/variants", splits["train"], numbers[1:], rows_per_file))
        records += waves.write(more, replace(writer, variants=lit))
    _remove_unfinished(folder)
    _add_petastorm_metadata(spark, settings, records, folder)
    return sorted(records, key=lambda record: record.path)


def _add_petastorm_metadata(
    spark: SparkSession, settings: PreprocessSettings, records: Sequence[FileRecord], folder: Location
) -> None:
    """The `_common_metadata` of each split that plain `petastorm.make_reader` wants."""
    for split in sorted({record.path.split("/")[0] for record in records if record.row_groups}):
        place = folder / split
        url = f"file:{place.path}"  # Petastorm would look for its own filesystem by any other scheme
        files = partial(petastorm_files, place)
        (place / "_common_metadata").remove()  # half of one, left by a killed job, would be read and end this one
        with materialize_dataset(spark, url, unischema(settings.image), filesystem_factory=files):
            pass  # all is written: what it does, it does at the end


def _remove_unfinished(folder: Location) -> None:
    """What executors that were killed left."""
    for split in SPLITS:
        for info in (folder / split).files():
            if info.base_name.endswith(".tmp"):
                (folder / split / info.base_name).remove()


def _of(records: Sequence[FileRecord], split: SplitName) -> list[FileRecord]:
    return [record for record in records if record.path.startswith(f"{split}/")]


# --- rejects ------------------------------------------------------------------------------------


def _rejects(records: Sequence[FileRecord], listing: Listing) -> list[dict[str, str]]:
    unique = {reject["key"]: reject for reject in rejects_of(records)}  # variants reject their image once more
    return [reject._asdict() for reject in listing.rejects] + list(unique.values())


def _refuse_empty(records: Sequence[FileRecord], listing: Listing, folder: Location) -> None:
    if not any(record.row_groups for record in _of(records, "train")):
        rejects = _rejects(records, listing)
        write_rejects(rejects, folder)
        raise InputError(f"no training image is usable: {told(rejects, folder)}")


# --- the manifest -------------------------------------------------------------------------------


def _manifest(
    settings: PreprocessSettings,
    listing: Listing,
    version: str,
    records: Sequence[FileRecord],
    rejects: Sequence[dict[str, str]],
) -> Manifest:
    splits = {name: split_of(_of(records, name), len(listing.classes)) for name in SPLITS}
    return Manifest(
        version=version,
        digest=content_digest(splits),
        splits=splits,
        rejects=reasons(rejects),
        classes=listing.classes,
        channels=settings.image.channels,
        image_format=settings.image.format,
        variants=Variants(settings.image, settings.augment, settings.seed).names,
        statistics=statistics(_of(records, "train")),
        histograms=histograms(records),
        source=listing.description,
        configuration=settings.shown(),
    )


def _prune(root: Location, version: str) -> None:
    for name in root.folders():
        if name != version and name.lstrip(".").startswith("v-"):
            (root / name).remove()
            print(f"removed {root / name}")
