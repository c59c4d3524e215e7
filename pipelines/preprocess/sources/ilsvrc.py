"""ILSVRC2012 as image-net.org gives it: two tars and a devkit, read where they lie, or what they were unpacked to.

The training tar holds a tar for each class; images are ranges of bytes in the outer file.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

from pipelines.config import InputError, SourceSettings
from pipelines.dataset.storage import Location
from pipelines.preprocess.sources.checksums import check_md5
from pipelines.preprocess.sources.devkit import ARCHIVE, find_devkit, read_devkit
from pipelines.preprocess.sources.imagenet import (
    Synsets,
    ValLabels,
    class_folders,
    folder_listers,
    list_val_folder,
    refuse_empty,
)
from pipelines.preprocess.sources.listing import Item, Listing, ReadRange, file_facts, fingerprint_of, root_of
from pipelines.preprocess.sources.names import has_image_suffix, is_clutter
from pipelines.preprocess.sources.parts import Part, Seen, gather, joined, list_class_tar, usable
from pipelines.preprocess.sources.tar import Member, ReadAt, Window, members, reading
from pipelines.preprocess.sources.walk import Walk

TRAIN_TAR = "ILSVRC2012_img_train.tar"
VAL_TAR = "ILSVRC2012_img_val.tar"
UNPACKED_NAMES = ("ILSVRC2012_img_train", "ILSVRC2012_img_val")
_TRAIN_PLACES = (TRAIN_TAR, "train", UNPACKED_NAMES[0])
_VAL_PLACES = (VAL_TAR, "val", UNPACKED_NAMES[1])


def list_ilsvrc(source: SourceSettings) -> Listing:
    """Keys are `train/<wnid>/<name>` and `val/<name>`, whether packed or unpacked files were listed."""
    root = root_of(source)
    train, val, devkit_at = _find_all(root)
    if source.check_md5:
        check_md5(root)
    devkit = read_devkit(devkit_at)
    walk = Walk(root, source.follow_links)
    with ExitStack() as stack:
        classes = _train_classes(walk, train, devkit.synsets, stack)
        parts = gather(list(classes.values()), root)
    refuse_empty(parts, list(classes), str(root / train))
    val_part = (
        _list_val_tar(root, devkit.val_labels) if val == VAL_TAR else list_val_folder(walk, val, devkit.val_labels)
    )
    whole = joined([*parts, val_part])
    return Listing(
        whole.items,
        devkit.synsets.classes(source),
        f"ILSVRC2012 in {root} ({train}, {val}, {devkit_at.name}){whole.left_out()}",
        str(root),
        ReadRange(root),
        fingerprint_of(whole.items, whole.facts, devkit.synsets.members),
        whole.rejects,
    )


def _find_all(root: Location) -> tuple[str, str, Location]:
    """Names of what has the training and the validation images, and the devkit; an InputError names all that lack."""
    train, val, devkit = _first(root, _TRAIN_PLACES), _first(root, _VAL_PLACES), find_devkit(root)
    if train and val and devkit:
        return train, val, devkit
    missing = [
        what
        for what, found in [
            (f"{TRAIN_TAR} (or train/ with a folder or tar for each class)", train),
            (f"{VAL_TAR} (or val/ with the images)", val),
            (f"{ARCHIVE} (or the folder it unpacks to)", devkit),
        ]
        if not found
    ]
    raise InputError(
        f"source.path = {root}: missing {'; '.join(missing)}. Get them at https://image-net.org/download-images, "
        "as ILSVRC2012, tasks 1 and 2; an account there is needed"
    )


def _first(root: Location, names: tuple[str, ...]) -> str | None:
    tar, *folders = names
    if (root / tar).size_bytes is not None:
        return tar
    return next((name for name in folders if (root / name).is_folder()), None)


def _train_classes(walk: Walk, train: str, synsets: Synsets, stack: ExitStack) -> dict[str, Callable[[], Part]]:
    """What lists each class, by wnid. The training tar stays open as long as the stack."""
    if train == TRAIN_TAR:
        return _inner_tars(walk.root, synsets, stack)
    place = walk.root / train
    folders = class_folders(place)
    tars = [name for info in place.files() if (name := str(info.base_name)).endswith(".tar") and not is_clutter(name)]
    synsets.refuse_others([*folders, *map(_stem, tars)], str(place))
    labels = synsets.labels()
    return folder_listers(walk, train, folders, synsets) | {
        _stem(tar): partial(_list_tar_file, walk.root, f"{train}/{tar}", labels[_stem(tar)]) for tar in tars
    }


def _inner_tars(root: Location, synsets: Synsets, stack: ExitStack) -> dict[str, Callable[[], Part]]:
    tar = root / TRAIN_TAR
    read = stack.enter_context(reading(tar))
    seen = Seen()
    found = [
        inner
        for member in members(read, str(tar), 0, tar.size_bytes or 0)
        if (inner := usable(member, seen, str(tar), "train/")) and inner.name.endswith(".tar")
    ]
    if seen.rejects:
        raise InputError(f"{tar}: {seen.rejects[0].detail}; it must hold nothing but a tar for each class")
    synsets.refuse_others([_stem(inner.name) for inner in found], str(tar))
    labels, facts = synsets.labels(), file_facts(tar)
    return {
        (wnid := _stem(inner.name)): partial(
            list_class_tar, read, tar, TRAIN_TAR, inner, f"train/{wnid}", labels[wnid], facts
        )
        for inner in found
    }


def _stem(name: str) -> str:
    return name.removesuffix(".tar")


def _list_tar_file(root: Location, file: str, label: int) -> Part:
    tar = root / file
    within = Member(tar.name, "file", 0, tar.size_bytes or 0)
    with reading(tar) as read:
        return list_class_tar(read, tar, file, within, f"train/{_stem(tar.name)}", label, file_facts(tar))


def _list_val_tar(root: Location, labels: ValLabels) -> Part:
    tar = root / VAL_TAR
    seen = Seen(facts=[file_facts(tar)])
    names: list[str] = []

    def items(read: ReadAt) -> Iterator[Item]:
        for member in members(read, str(tar), 0, tar.size_bytes or 0):
            image = usable(member, seen, str(tar), "val/")
            if image is None:
                continue
            if has_image_suffix(image.name):
                names.append(image.name.rpartition("/")[2])
                yield labels.item(names[-1], VAL_TAR, image.offset, image.size_bytes)
            else:
                seen.other_files += 1

    with reading(tar) as read:
        part = seen.part(items(read if tar.is_local else Window(read)))
    labels.refuse_missing(names, str(tar))
    return part
