"""ImageNet as Kaggle's "ImageNet Object Localization Challenge" gives it, unpacked: folders of images, two tables."""

import csv
import io
from collections.abc import Iterator

from pipelines.config import InputError, SourceSettings
from pipelines.dataset.storage import Location
from pipelines.preprocess.sources.imagenet import (
    Synset,
    Synsets,
    ValLabels,
    class_folders,
    folder_listers,
    list_val_folder,
    refuse_empty,
)
from pipelines.preprocess.sources.listing import Listing, ReadRange, file_facts, fingerprint_of, root_of
from pipelines.preprocess.sources.parts import gather, joined
from pipelines.preprocess.sources.walk import Walk

IMAGES = "ILSVRC/Data/CLS-LOC"
SOLUTION = "LOC_val_solution.csv"
_SYNSETS = "LOC_synset_mapping.txt"


def list_kaggle(source: SourceSettings) -> Listing:
    """Keys are `train/<wnid>/<name>` and `val/<name>`, as those of the original tars."""
    root = root_of(source)
    _refuse_incomplete(root)
    synsets = Synsets.sorted(_synsets(root / _SYNSETS), str(root / _SYNSETS))
    labels = _val_labels(root / SOLUTION, synsets)
    walk = Walk(root, source.follow_links)
    wnids = class_folders(root / IMAGES / "train")
    synsets.refuse_others(wnids, str(root / IMAGES / "train"))
    parts = gather(list(folder_listers(walk, f"{IMAGES}/train", wnids, synsets).values()), root)
    refuse_empty(parts, wnids, str(root / IMAGES / "train"))
    whole = joined([*parts, list_val_folder(walk, f"{IMAGES}/val", labels)])
    return Listing(
        whole.items,
        synsets.classes(source),
        f"Kaggle's ImageNet in {root}{whole.left_out()}",
        str(root),
        ReadRange(root),
        fingerprint_of(whole.items, whole.facts, file_facts(root / _SYNSETS), file_facts(root / SOLUTION)),
        whole.rejects,
    )


def _refuse_incomplete(root: Location) -> None:
    folders = [f"{IMAGES}/{name}" for name in ("train", "val") if not (root / IMAGES / name).is_folder()]
    files = [name for name in (SOLUTION, _SYNSETS) if (root / name).size_bytes is None]
    if folders or files:
        raise InputError(
            f"source.path = {root}: missing {', '.join(folders + files)}. It must be the folder with ILSVRC/ and the "
            "two tables, from https://www.kaggle.com/c/imagenet-object-localization-challenge"
        )


def _synsets(table: Location) -> Iterator[Synset]:
    """Of lines such as `n01440764 tench, Tinca tinca`."""
    for number, line in enumerate(_text(table).splitlines(), start=1):
        if line.strip():
            wnid, separator, words = line.strip().partition(" ")
            if not separator:
                raise InputError(f"{table}: line {number} is {line!r}, expected a wnid, a blank and a name")
            yield Synset(wnid, words)


def _val_labels(table: Location, synsets: Synsets) -> ValLabels:
    """Of rows such as `ILSVRC2012_val_00048981,n03995372 85 1 499 272`: the image, its wnid and boxes."""
    labels: dict[str, int] = {}
    label_of = synsets.labels()
    rows = csv.DictReader(io.StringIO(_text(table)))
    if not {"ImageId", "PredictionString"} <= set(rows.fieldnames or ()):
        raise InputError(f"{table}: its columns are {rows.fieldnames}, expected ImageId and PredictionString")
    for row in rows:
        image, prediction = row["ImageId"], row["PredictionString"] or ""
        wnid = prediction.partition(" ")[0]
        if wnid not in label_of:
            raise InputError(f"{table}: line {rows.line_num}: {wnid!r} is no class of {synsets.source}")
        if image in labels:
            raise InputError(f"{table}: line {rows.line_num}: {image} is there twice")
        labels[image] = label_of[wnid]
    return ValLabels(labels, str(table))


def _text(file: Location) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not UTF-8: {error}") from None
