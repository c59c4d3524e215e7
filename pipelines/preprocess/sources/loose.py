"""Images in any folder, or in tars, of which nothing but themselves is known: what a trained model is asked about."""

from collections.abc import Iterator
from functools import partial

from pipelines.config import InputError
from pipelines.dataset.storage import Location
from pipelines.preprocess.sources.listing import (
    WHOLE_FILE,
    Item,
    Listing,
    ReadRange,
    file_facts,
    fingerprint_of,
    folder_at,
)
from pipelines.preprocess.sources.names import has_image_suffix
from pipelines.preprocess.sources.parts import Part, Seen, gather, joined, list_class_tar
from pipelines.preprocess.sources.tar import Member, reading
from pipelines.preprocess.sources.walk import Walk

UNKNOWN = -1
"""The label of an item."""
_TAR = ".tar"


def list_loose(address: str, follow_links: bool = False) -> Listing:
    """Of a folder, with all folders and tars below it, or of one tar.

    Keys are paths below the folder; in a tar, the tar's path without `.tar` comes before.
    Raises InputError if there is no such folder or file, or the file is no tar.
    """
    place = Location.at(address)
    if place.size_bytes is not None:
        if not place.name.endswith(_TAR):
            raise InputError(f"source.path = {place}: a file, but no .tar; give a folder of images, or unpack it")
        return _listing(place.parent, [_list_tar(place.parent, place.name)], f"the tar {place}")
    root = folder_at("source.path", address)
    tars: list[str] = []
    loose = _list_files(Walk(root, follow_links), tars)
    in_tars = gather([partial(_list_tar, root, tar) for tar in tars], root)
    return _listing(root, [loose, *in_tars], f"images in {root}{f' and its {len(tars)} tars' if tars else ''}")


def _listing(root: Location, parts: list[Part], what: str) -> Listing:
    whole = joined(parts)
    return Listing(
        whole.items,
        (),
        what + whole.left_out(),
        str(root),
        ReadRange(root),
        fingerprint_of(whole.items, whole.facts),
        whole.rejects,
    )


def _list_files(walk: Walk, tars: list[str]) -> Part:
    """Images that are files of their own; `tars` is filled with the paths of tars."""
    seen = Seen()

    def items() -> Iterator[Item]:
        for file in walk.files(""):
            if file.fault:
                seen.reject(file.path, str(walk.root / file.path), *file.fault)
            elif file.path.endswith(_TAR):
                tars.append(file.path)
            elif not has_image_suffix(file.path):
                seen.other_files += 1
            else:
                seen.facts.append(f"{file.path} {file.size_bytes} {file.mtime_ns}")
                yield Item(file.path, file.path, 0, WHOLE_FILE, UNKNOWN, None)

    return seen.part(items())


def _list_tar(root: Location, file: str) -> Part:
    tar = root / file
    whole = Member(file, "file", 0, tar.size_bytes or 0)
    with reading(tar) as read:
        return list_class_tar(read, tar, file, whole, file.removesuffix(_TAR), UNKNOWN, file_facts(tar))
