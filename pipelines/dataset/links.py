"""Symbolic links in a dataset: those that lead out of it are refused, before anything is read, written or removed."""

import os
from collections.abc import Iterator

from pipelines.config import InputError
from pipelines.dataset.storage import Location


def refuse_links_out(root: Location, name: str) -> None:
    """Raise an InputError that names a link at `root / name` or below it if it leads out of the dataset at `root`.

    A dataset may come from somebody else, and what its files are named by may be altered or removed. The root itself
    may be a link, or lie below one, and links from one place in the dataset to another are followed. HDFS and object
    stores have no links.
    """
    if not root.is_local:
        return
    home = os.path.realpath(root.path)
    link = next(_leading_out(os.path.join(root.path, name), home, set()), None)  # noqa: PTH118 - as strings: many files
    if link is not None:
        raise InputError(
            f"{link}: a link to {os.path.realpath(link)}, outside of the dataset {root}; expected only files of the "
            "dataset's own: remove the link, or put what it leads to in its place"
        )


def _leading_out(path: str, home: str, seen: set[str]) -> Iterator[str]:
    real = os.path.realpath(path)
    if os.path.commonpath([real, home]) != home:
        yield path
    elif os.path.isdir(real) and real not in seen:  # noqa: PTH112 - as above
        seen.add(real)
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_symlink() or entry.is_dir():
                    yield from _leading_out(entry.path, home, seen)
