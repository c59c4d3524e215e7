"""What the name of a file tells: an image, clutter that a desktop left, a path that leads out of where it lies."""

import re

_IMAGE_SUFFIXES = frozenset(["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm", "pgm", "jfif"])
_CLUTTER = frozenset([".DS_Store", "__MACOSX"])
_WNID = re.compile(r"n\d{8}")


def has_image_suffix(name: str) -> bool:
    """Whether the name ends like an image's, in whatever case."""
    return name.rpartition(".")[2].lower() in _IMAGE_SUFFIXES


def is_clutter(path: str) -> bool:
    """Whether macOS made it beside the real files: `.DS_Store`, `._name` or something in `__MACOSX`."""
    base = path.rpartition("/")[2]
    return base.startswith("._") or base in _CLUTTER or path.startswith("__MACOSX/")


def leads_out(path: str) -> bool:
    """Whether the path is absolute or climbs with `..`, so that it could name a file anywhere."""
    return path.startswith("/") or (".." in path and ".." in path.split("/"))


def is_wnid(name: str) -> bool:
    """Whether it is spelled like a WordNet id of ImageNet: `n01440764`."""
    return _WNID.fullmatch(name) is not None
