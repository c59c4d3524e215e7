"""Tiny sources of every kind. A `write_…` returns what a listing of it must tell, `contents` what one does tell."""

import gzip
import io
import json
import struct
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

from pipelines.preprocess.sources.listing import Listing


class Made(NamedTuple):
    """An image of a source."""

    label: int
    split: str | None
    encoded: bytes


class Synset(NamedTuple):
    wnid: str
    ilsvrc_id: int
    words: str


SYNSETS = (
    Synset("n02085620", 1, "Chihuahua"),
    Synset("n01440764", 2, "tench, Tinca tinca"),
    Synset("n01698640", 3, "American alligator, Alligator mississipiensis"),
    Synset("n01443537", 4, "goldfish, Carassius auratus"),
)
"""The order of their ILSVRC ids is not the order of their wnids, as in the real devkit."""


def encoded_image(name: str, form: str = "JPEG") -> bytes:
    """An image file of one colour and size, both drawn from the name."""
    drawn = zlib.crc32(name.encode())
    colour = (drawn & 255, drawn >> 8 & 255, drawn >> 16 & 255)
    file = io.BytesIO()
    Image.new("RGB", (16 + drawn % 16, 16 + drawn // 16 % 16), colour).save(file, form)
    return file.getvalue()


def contents(listing: Listing) -> dict[str, Made]:
    """What a listing holds, every image read, by key."""
    return {
        row["key"]: Made(row["label"], row["split"], listing.read(row["file"], row["offset"], row["length"]))
        for row in listing.items.to_pylist()
    }


def tar_of(files: Mapping[str, bytes], form: int = tarfile.GNU_FORMAT) -> bytes:
    """An uncompressed tar of these files; a name that ends with a slash is a folder."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=form) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            if name.endswith("/"):
                member.type = tarfile.DIRTYPE
            tar.addfile(member, io.BytesIO(data))
    return content.getvalue()


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


# --- ImageNet


def imagenet_train(classes: Sequence[Synset], per_class: int) -> dict[str, dict[str, bytes]]:
    """Images by name, by wnid."""
    names = {synset.wnid: [f"{synset.wnid}_{10 + number}.JPEG" for number in range(per_class)] for synset in classes}
    return {wnid: {name: encoded_image(name) for name in members} for wnid, members in names.items()}


def imagenet_val(classes: Sequence[Synset], val_per_class: int) -> dict[str, tuple[Synset, bytes]]:
    """Images by name; the classes take turns."""
    names = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, len(classes) * val_per_class + 1)]
    return {name: (classes[turn % len(classes)], encoded_image(name)) for turn, name in enumerate(names)}


def imagenet_made(classes: Sequence[Synset], per_class: int, val_per_class: int) -> dict[str, Made]:
    label_of = {wnid: label for label, wnid in enumerate(sorted(synset.wnid for synset in classes))}
    made = {
        f"train/{wnid}/{name}": Made(label_of[wnid], "train", data)
        for wnid, members in imagenet_train(classes, per_class).items()
        for name, data in members.items()
    }
    for name, (synset, data) in imagenet_val(classes, val_per_class).items():
        made[f"val/{name}"] = Made(label_of[synset.wnid], "val", data)
    return made


def devkit_files(classes: Sequence[Synset], truth: Sequence[int]) -> dict[str, bytes]:
    """`meta.mat` with these leaves and one inner synset, and the ground truth, by path in the devkit."""
    rows = [(synset.ilsvrc_id, synset.wnid, synset.words, "a gloss", 0) for synset in classes]
    rows.append((1001, "n00001740", "entity", "that which is perceived", 1 + len(classes)))
    fields = ["ILSVRC2012_ID", "WNID", "words", "gloss", "num_children"]
    meta = io.BytesIO()
    savemat(meta, {"synsets": np.array(rows, [(name, object) for name in fields])})
    return {
        "ILSVRC2012_devkit_t12/readme.txt": b"Read me",
        "ILSVRC2012_devkit_t12/data/meta.mat": meta.getvalue(),
        "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt": "".join(f"{n}\n" for n in truth).encode(),
    }


def write_devkit(
    folder: Path, classes: Sequence[Synset], truth: Sequence[int], layout: Literal["tar", "folder"] = "tar"
) -> None:
    files = devkit_files(classes, truth)
    if layout == "tar":
        (folder / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(gzip.compress(tar_of(files)))
    else:
        write_files(folder, files)


def write_ilsvrc(
    folder: Path,
    classes: Sequence[Synset] = SYNSETS,
    per_class: int = 3,
    val_per_class: int = 2,
    train: Literal["tar", "class_tars", "folders"] = "tar",
    val: Literal["tar", "folder"] = "tar",
    devkit: Literal["tar", "folder"] = "tar",
) -> dict[str, Made]:
    """ILSVRC2012's files as downloaded, or unpacked."""
    folder.mkdir(parents=True, exist_ok=True)
    packed = {f"{wnid}.tar": tar_of(members) for wnid, members in imagenet_train(classes, per_class).items()}
    if train == "tar":
        (folder / "ILSVRC2012_img_train.tar").write_bytes(tar_of(packed))
    elif train == "class_tars":
        write_files(folder / "train", packed)
    else:
        for wnid, members in imagenet_train(classes, per_class).items():
            write_files(folder / "train" / wnid, members)
    val_images = imagenet_val(classes, val_per_class)
    val_files = {name: data for name, (_, data) in val_images.items()}
    if val == "tar":
        (folder / "ILSVRC2012_img_val.tar").write_bytes(tar_of(val_files))
    else:
        write_files(folder / "val", val_files)
    write_devkit(folder, classes, [synset.ilsvrc_id for synset, _ in val_images.values()], devkit)
    return imagenet_made(classes, per_class, val_per_class)


def write_kaggle(
    folder: Path, classes: Sequence[Synset] = SYNSETS, per_class: int = 3, val_per_class: int = 2
) -> dict[str, Made]:
    """Kaggle's layout of the same images."""
    images = folder / "ILSVRC" / "Data" / "CLS-LOC"
    for wnid, members in imagenet_train(classes, per_class).items():
        write_files(images / "train" / wnid, members)
    val_images = imagenet_val(classes, val_per_class)
    write_files(images / "val", {name: data for name, (_, data) in val_images.items()})
    solution = ["ImageId,PredictionString"]
    for name, (synset, _) in reversed(val_images.items()):  # Kaggle's is in no order
        solution.append(f"{name.removesuffix('.JPEG')},{synset.wnid} 85 1 499 272 {synset.wnid} 1 2 3 4 ")
    (folder / "LOC_val_solution.csv").write_text("\n".join(solution) + "\n")
    mapping = sorted(f"{synset.wnid} {synset.words}\n" for synset in classes)
    (folder / "LOC_synset_mapping.txt").write_text("".join(mapping))
    return imagenet_made(classes, per_class, val_per_class)


# --- the others


def write_imagefolder(
    folder: Path, classes: Mapping[str, int], split: str | None = None, key: str = ""
) -> dict[str, Made]:
    """So many PNG files for each class. key: what their keys begin with, such as `train/`."""
    made: dict[str, Made] = {}
    for label, name in enumerate(sorted(classes)):
        for number in range(classes[name]):
            data = encoded_image(f"{split} {name} {number}", "PNG")
            write_files(folder, {f"{name}/{number}.png": data})
            made[f"{key}{name}/{number}.png"] = Made(label, split, data)
    return made


class HfFile(NamedTuple):
    """A Parquet file to be: its name and its labels, whose images follow from name and row."""

    name: str
    labels: Sequence[int | None]
    split: str | None


HF_FILES = (
    HfFile("train-00000-of-00002.parquet", [0, 1, 2, 1, 0], "train"),
    HfFile("train-00001-of-00002.parquet", [2, 2, 0], "train"),
    HfFile("validation-00000-of-00001.parquet", [1, 2], "val"),
)


def write_hf_parquet(
    folder: Path,
    files: Sequence[HfFile] = HF_FILES,
    class_names: Sequence[str] | None = ("tench", "goldfish", "shark"),
    rows_per_group: int = 2,
) -> dict[str, Made]:
    """Files as the `datasets` library writes them. class_names: None leaves its description of the features out."""
    folder.mkdir(parents=True, exist_ok=True)
    made: dict[str, Made] = {}
    for file in files:
        images = [encoded_image(f"{file.name} {row}") for row in range(len(file.labels))]
        table = pa.table(
            {
                "image": pa.array(
                    [{"bytes": data, "path": f"{row}.JPEG"} for row, data in enumerate(images)],
                    pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
                ),
                "label": pa.array(file.labels, pa.int64()),
            }
        )
        if class_names is not None:
            features = {"image": {"_type": "Image"}, "label": {"names": list(class_names), "_type": "ClassLabel"}}
            table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        pq.write_table(table, folder / file.name, row_group_size=rows_per_group, compression="none")
        prefix = f"{file.split}/" if file.split else ""
        for row, (label, data) in enumerate(zip(file.labels, images, strict=True)):
            if label is not None:
                made[f"{prefix}{file.name.removesuffix('.parquet')}/{row:06d}"] = Made(label, file.split, data)
    return made


def write_webdataset(folder: Path, shards: Mapping[str, Sequence[int]], split: str | None = None) -> dict[str, Made]:
    """Tars with these labels: even samples have a `.cls`, odd ones a `.json`."""
    made: dict[str, Made] = {}
    for name, labels in shards.items():
        members: dict[str, bytes] = {}
        for number, label in enumerate(labels):
            members[f"{number:04d}.jpg"] = data = encoded_image(f"{name} {number}")
            if number % 2:
                members[f"{number:04d}.json"] = json.dumps({"label": label, "caption": "of a thing"}).encode()
            else:
                members[f"{number:04d}.cls"] = str(label).encode()
            made[f"{name.removesuffix('.tar')}/{number:04d}"] = Made(label, split, data)
        write_files(folder, {name: tar_of(members)})
    return made


Pixels = NDArray[np.uint8]
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 4, 6), np.uint8)
"""(N, H, W)"""
LABELS = np.array([0, 1, 2, 1, 0], np.uint8)


def idx_bytes(array: Pixels) -> bytes:
    magic = {3: 2051, 1: 2049}[array.ndim]
    return struct.pack(f">{array.ndim + 1}I", magic, *array.shape) + array.tobytes()


def write_idx(
    folder: Path,
    part: str = "train",
    images: Pixels = IMAGES,
    labels: Pixels = LABELS,
    suffix: str = "",
) -> None:
    """Two of MNIST's four files. suffix: `.gz` packs them."""
    pack = gzip.compress if suffix else bytes
    (folder / f"{part}-images-idx3-ubyte{suffix}").write_bytes(pack(idx_bytes(images)))
    (folder / f"{part}-labels-idx1-ubyte{suffix}").write_bytes(pack(idx_bytes(labels)))
