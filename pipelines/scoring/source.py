"""The images to score, wherever the settings say they are."""

from dataclasses import dataclass

from pipelines.config import InputError, ScoreSourceSettings, SourceSettings
from pipelines.dataset.manifest import FILE_NAME, Manifest, read_manifest
from pipelines.dataset.storage import Location
from pipelines.preprocess.sources import KINDS, checked
from pipelines.preprocess.sources.listing import Listing
from pipelines.preprocess.sources.loose import list_loose
from pipelines.preprocess.sources.stored import list_stored


@dataclass(frozen=True)
class Images:
    """What there is to score."""

    listing: Listing
    dataset: Manifest | None
    """That the images are stored in; None: they are raw files."""


def find_images(source: ScoreSourceSettings) -> Images:
    """An InputError if there are none."""
    kind = source.kind or ("dataset" if _is_dataset(source) else "images")
    path = source.path or ""
    if kind == "dataset":
        manifest = read_manifest(path)
        return Images(checked(list_stored(Location.at(path), manifest, source.split)), manifest)
    if kind != "images":
        known = SourceSettings(kind=kind, path=source.path, follow_links=source.follow_links)
        return Images(checked(KINDS[kind](known)), None)
    listing = list_loose(path, source.follow_links)
    if not len(listing.items) and not listing.rejects:
        raise InputError(
            f"source.path = {path}: no image files or tars of them in it or below it ({listing.description}); "
            "for another layout set source.kind"
        )
    return Images(checked(listing), None)


def _is_dataset(source: ScoreSourceSettings) -> bool:
    return (Location.at(source.path or "") / FILE_NAME).size_bytes is not None
