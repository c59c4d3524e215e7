"""Which kind of source a folder is, by the names in it."""

from collections.abc import Callable

from pipelines.config import InputError, SourceKind
from pipelines.dataset.storage import Location
from pipelines.preprocess.sources import checksums, devkit, ilsvrc, kaggle
from pipelines.preprocess.sources.hf_parquet import parquet_folder
from pipelines.preprocess.sources.names import has_image_suffix, is_wnid

LAYOUTS = """\
  ilsvrc: ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar, ILSVRC2012_devkit_t12.tar.gz, or what they unpack to
  kaggle: ILSVRC/Data/CLS-LOC/, LOC_val_solution.csv, LOC_synset_mapping.txt
  idx: train-images-idx3-ubyte and the other files of MNIST, gzipped or not
  hf_parquet: *.parquet, or data/*.parquet, with columns image and label
  webdataset: *.tar of pairs such as 0001.jpg and 0001.cls
  imagefolder: a folder of images for each class, or train/ and val/ with such folders"""

_MOST_SHOWN = 8


class Seen:
    """Names in a folder, asked for once."""

    def __init__(self, root: Location) -> None:
        self.root = root
        self.files = [str(info.base_name) for info in root.files()]
        self.folders = root.folders()


def detect(root: Location) -> tuple[SourceKind, str]:
    """The kind, and what shows it. If nothing does, an InputError tells what is there and what was expected."""
    seen = Seen(root)
    for kind, sign in _SIGNS.items():
        if why := sign(seen):
            return kind, why
    names = [f"{name}/" for name in seen.folders] + seen.files
    shown = ", ".join(names[:_MOST_SHOWN]) + (f" and {len(names) - _MOST_SHOWN} more" if names[_MOST_SHOWN:] else "")
    raise InputError(f"source.path = {root}: no known layout. It holds {shown or 'nothing'}. Known are:\n{LAYOUTS}")


def _ilsvrc(seen: Seen) -> str | None:
    for name in (*reversed(checksums.PUBLISHED_MD5), devkit.FOLDER, *ilsvrc.UNPACKED_NAMES):
        if name in seen.files or name in seen.folders:
            return f"{name} is there"
    if "train" in seen.folders:
        for info in (seen.root / "train").files():
            if info.base_name.endswith(".tar") and is_wnid(info.base_name.removesuffix(".tar")):
                return f"train/{info.base_name} is there"
    return None


def _kaggle(seen: Seen) -> str | None:
    if kaggle.SOLUTION in seen.files:
        return f"{kaggle.SOLUTION} is there"
    if "ILSVRC" in seen.folders and (seen.root / kaggle.IMAGES).is_folder():
        return f"{kaggle.IMAGES} is there"
    return None


def _idx(seen: Seen) -> str | None:
    return next((f"{name} is there" for name in seen.files if name.startswith("train-images") and "idx3" in name), None)


def _hf_parquet(seen: Seen) -> str | None:
    folder = parquet_folder(seen.root)
    return f"Parquet files are in {folder}" if folder else None


def _webdataset(seen: Seen) -> str | None:
    if name := _first(seen.files, ".tar"):
        return f"{name} is there"
    for folder in ("train", "val"):
        if folder in seen.folders and (info := _first([i.base_name for i in (seen.root / folder).files()], ".tar")):
            return f"{folder}/{info} is there"
    return None


def _first(names: list[str], suffix: str) -> str | None:
    return next((name for name in names if name.endswith(suffix)), None)


def _imagefolder(seen: Seen) -> str | None:
    """Looks for an image in class folders or one folder below, and no deeper: the source may be a whole disk."""
    side = seen.root / "train" if "train" in seen.folders else seen.root
    for name in side.folders():
        for folder in (side / name, *(side / name / below for below in (side / name).folders())):
            if image := next((info.base_name for info in folder.files() if has_image_suffix(info.base_name)), None):
                return f"the folder {name}/ has images such as {image}"
    return None


_SIGNS: dict[SourceKind, Callable[[Seen], str | None]] = {
    "ilsvrc": _ilsvrc,
    "kaggle": _kaggle,
    "idx": _idx,
    "hf_parquet": _hf_parquet,
    "webdataset": _webdataset,
    "imagefolder": _imagefolder,
}
"""Surest sign first."""
