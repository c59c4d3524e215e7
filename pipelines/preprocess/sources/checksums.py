"""Whether ILSVRC2012's three files are the published ones."""

import hashlib
from collections.abc import Mapping

from pipelines.config import InputError
from pipelines.dataset.storage import Location
from pipelines.preprocess.sources.progress import ProgressLines

PUBLISHED_MD5 = {
    "ILSVRC2012_devkit_t12.tar.gz": "fa75699e90414af021442c21a62c3abf",
    "ILSVRC2012_img_val.tar": "29b22e2961454d5413ddabcf34fc5622",
    "ILSVRC2012_img_train.tar": "1d675b47d978889d74fa0da5fadfb00e",
}
"""Smallest first: a wrong file is found sooner."""

_BLOCK_BYTES = 8 << 20


def check_md5(root: Location, published: Mapping[str, str] = PUBLISHED_MD5) -> None:
    """An InputError if one of these files in `root` has another checksum, or none of them is there."""
    there = [name for name in published if (root / name).size_bytes is not None]
    if not there:
        raise InputError(
            f"source.check_md5: {root} has none of {', '.join(published)}; unpacked files have no published checksums"
        )
    for name in published:
        if name not in there:
            print(f"{name} is not in {root}: its checksum is not checked", flush=True)
    for name in there:
        found = _md5(root / name)
        if found != published[name]:
            raise InputError(f"{root / name}: md5 is {found}, but {published[name]} was published; download it again")


def _md5(file: Location) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    progress = ProgressLines(f"md5 of {file.name}", (file.size_bytes or 0) / 1e9, "GB")
    with file.open() as opened:
        while block := opened.read(_BLOCK_BYTES):
            digest.update(block)
            progress.add(len(block) / 1e9)
    return digest.hexdigest()
