"""Tars of samples as the webdataset library writes them: `0001.jpg` beside `0001.cls` or `0001.json`.

https://github.com/webdataset/webdataset, "The WebDataset Format": files with one name up to the first dot are a sample.
"""

import json
from collections.abc import Iterator
from functools import partial

from pipelines.config import InputError, SourceSettings
from pipelines.dataset.manifest import SplitName
from pipelines.dataset.storage import Location
from pipelines.preprocess.sources import labels
from pipelines.preprocess.sources.listing import (
    Item,
    Listing,
    ReadRange,
    class_table,
    file_facts,
    fingerprint_of,
    root_of,
)
from pipelines.preprocess.sources.names import is_clutter
from pipelines.preprocess.sources.parts import Part, Seen, gather, joined, usable
from pipelines.preprocess.sources.splits import by_split
from pipelines.preprocess.sources.tar import Member, ReadAt, Window, members, reading

_IMAGES = ("jpg", "jpeg", "png", "webp")
_LABELS = ("cls", "json")
_MOST_LABEL_BYTES = 1 << 20


def list_webdataset(source: SourceSettings) -> Listing:
    """Keys are `<tar without .tar>/<key of the sample>`."""
    root = root_of(source)
    tars = _tars(root)
    if not tars:
        raise InputError(f"source.path = {root}: no tars in it")
    found = by_split(tars, str(root))
    whole = joined(gather([partial(_list_tar, root, *tar, len(source.class_names)) for tar in found.files], root))
    return Listing(
        whole.items,
        class_table(source, source.class_names or labels.names(whole.items)),
        f"webdataset's tars in {root}{found.remark()}{whole.left_out()}",
        str(root),
        ReadRange(root),
        fingerprint_of(whole.items, whole.facts),
        whole.rejects,
    )


def _tars(root: Location) -> list[str]:
    """Paths below the root."""
    skip = len(root.path.rstrip("/")) + 1
    paths = [str(info.path)[skip:] for info in root.files(below=True)]
    return [path for path in paths if path.endswith(".tar") and not is_clutter(path)]


def _list_tar(root: Location, file: str, split: SplitName | None, classes: int) -> Part:
    tar = root / file
    seen = Seen(facts=[file_facts(tar)])

    def items(read: ReadAt) -> Iterator[Item]:
        for name, sample in _samples(read, tar, seen).items():
            key = f"{file.removesuffix('.tar')}/{name}"
            image = next((sample[suffix] for suffix in _IMAGES if suffix in sample), None)
            if image is None and not sample.keys() & set(_LABELS):
                seen.other_files += len(sample)
                continue
            try:
                label = _label(sample, read, classes)
                if image is None:
                    raise labels.NoLabelError("it has a label, but no image")
                yield Item(key, file, image.offset, image.size_bytes, label, split)
            except labels.NoLabelError as why:
                seen.reject(key, str(tar), "no_label", f"{name}: {why}")

    with reading(tar) as read:
        return seen.part(items(read if tar.is_local else Window(read)))


def _samples(read: ReadAt, tar: Location, seen: Seen) -> dict[str, dict[str, Member]]:
    """Files of each sample, by what follows the first dot of their names, in lower case."""
    samples: dict[str, dict[str, Member]] = {}
    for member in members(read, str(tar), 0, tar.size_bytes or 0):
        file = usable(member, seen, str(tar), f"{tar.name}/")
        if file is None:
            continue
        folder, slash, base = file.name.rpartition("/")
        stem, _, suffix = base.partition(".")
        sample = samples.setdefault(folder + slash + stem, {})
        if suffix.lower() in sample:
            raise InputError(f"{tar}: {file.name} is there twice")
        sample[suffix.lower()] = file
    return samples


def _label(sample: dict[str, Member], read: ReadAt, classes: int) -> int:
    """Of `.cls`, or else of `.json`; NoLabelError if there is none."""
    suffix = next((suffix for suffix in _LABELS if suffix in sample), None)
    if suffix is None:
        raise labels.NoLabelError("it has neither .cls nor .json")
    file = sample[suffix]
    if file.size_bytes > _MOST_LABEL_BYTES:
        raise labels.NoLabelError(f"its .{suffix} has {file.size_bytes} bytes")
    content = read(file.size_bytes, file.offset)
    try:
        label = int(content) if suffix == "cls" else _in_document(json.loads(content))
    except (ValueError, RecursionError):
        raise labels.NoLabelError(f"its .{suffix} begins with {content[:20]!r}") from None
    return labels.checked(label, classes)


def _in_document(document: object) -> object:
    return document.get("label", document.get("cls")) if isinstance(document, dict) else None
