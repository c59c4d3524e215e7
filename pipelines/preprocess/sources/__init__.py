"""Where raw images come from. A source lists its images on the driver and reads one image's bytes on an executor."""

from collections.abc import Callable

from pipelines.config import InputError, SourceKind, SourceSettings
from pipelines.preprocess.sources.detect import detect
from pipelines.preprocess.sources.digits import list_digits
from pipelines.preprocess.sources.hf_parquet import list_hf_parquet
from pipelines.preprocess.sources.idx import list_idx
from pipelines.preprocess.sources.ilsvrc import list_ilsvrc
from pipelines.preprocess.sources.imagefolder import list_imagefolder
from pipelines.preprocess.sources.kaggle import list_kaggle
from pipelines.preprocess.sources.listing import Listing, repeated_key, root_of
from pipelines.preprocess.sources.webdataset import list_webdataset

KINDS: dict[SourceKind, Callable[[SourceSettings], Listing]] = {
    "digits": list_digits,
    "idx": list_idx,
    "ilsvrc": list_ilsvrc,
    "kaggle": list_kaggle,
    "imagefolder": list_imagefolder,
    "hf_parquet": list_hf_parquet,
    "webdataset": list_webdataset,
}


def list_source(source: SourceSettings) -> Listing:
    """The listing of whatever `source` names; an InputError that names the missing or wrong file."""
    kind = source.kind
    if kind is None:
        kind, why = detect(root_of(source))
        print(f"source.path = {source.path}: detected {kind} ({why})", flush=True)
    return checked(KINDS[kind](source))


def checked(listing: Listing) -> Listing:
    """The listing; an InputError if it has no image, or two of one key."""
    if not len(listing.items):
        first = f"; {len(listing.rejects)} rejected, the first {listing.rejects[0]}" if listing.rejects else ""
        raise InputError(f"{listing.description}: no images{first}")
    if key := repeated_key(listing.items):
        raise InputError(f"{listing.description}: two images have one key, {key}")
    return listing
