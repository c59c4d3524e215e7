"""A filesystem as Petastorm 0.13 wants it: of Arrow's old interface, for Arrow 14 refuses it any other kind.

So datasets on S3, Google Cloud Storage and HDFS can be written and read with Petastorm, without s3fs and the like.
"""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from pyarrow import fs
from pyarrow.filesystem import FileSystem, LocalFileSystem

from pipelines.dataset.storage import Location


def petastorm_files(location: Location) -> FileSystem:
    """The filesystem that holds `location`."""
    return LocalFileSystem._get_instance() if location.is_local else _Bridge(location.filesystem)


class _Bridge(FileSystem):  # type: ignore[misc]  # pyarrow has no types
    """What Petastorm and Arrow's old dataset API call, answered by one of Arrow's new filesystems."""

    def __init__(self, filesystem: fs.FileSystem) -> None:
        self._fs = filesystem

    def __reduce__(self) -> tuple[Any, ...]:
        return _Bridge, (self._fs,)

    def _isfilestore(self) -> bool:
        return True

    def _type(self, path: str) -> fs.FileType:
        return self._fs.get_file_info(path).type

    def exists(self, path: str) -> bool:
        return bool(self._type(path) != fs.FileType.NotFound)

    def isdir(self, path: str) -> bool:
        return bool(self._type(path) == fs.FileType.Directory)

    def isfile(self, path: str) -> bool:
        return bool(self._type(path) == fs.FileType.File)

    def open(self, path: str, mode: str = "rb") -> pa.NativeFile:
        return self._fs.open_input_file(path) if "r" in mode else self._fs.open_output_stream(path, compression=None)

    def walk(self, path: str) -> Iterator[tuple[str, list[str], list[str]]]:
        found = self._fs.get_file_info(fs.FileSelector(path))
        folders = sorted(info.base_name for info in found if info.type == fs.FileType.Directory)
        yield path, folders, sorted(info.base_name for info in found if info.type == fs.FileType.File)
        for folder in folders:
            yield from self.walk(f"{path}/{folder}")

    def ls(self, path: str) -> list[str]:
        return [info.path for info in self._fs.get_file_info(fs.FileSelector(path))]

    def rm(self, path: str, recursive: bool = False) -> None:
        self._fs.delete_file(path)
