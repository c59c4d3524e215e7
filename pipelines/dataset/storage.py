"""Files wherever they lie: a local disk, HDFS, S3 or Google Cloud Storage, through Arrow's filesystems.

A `Location` is one file or folder. It travels to executors without credentials: each machine looks its own up where
that store's tools do (environment, configuration files, the machine's role).
"""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from secrets import token_hex
from urllib.parse import quote

import pyarrow as pa
from pyarrow import fs

from pipelines.config import InputError, without_secrets

_STORES = ("hdfs", "viewfs", "s3", "gs", "gcs")
_BLOCK_BYTES = 8 << 20


@dataclass(frozen=True)
class Location:
    """A file or folder. `str()` gives the path or address that users type."""

    filesystem: fs.FileSystem = field(compare=False)
    path: str
    """Absolute, as the filesystem spells it; no slash at its end."""
    prefix: str = ""
    """What `str()` puts before the path: empty for a local disk, else such as `s3://`."""
    options: str = ""
    """What `str()` puts behind it: `?endpoint_override=…`."""

    @classmethod
    def at(cls, address: "Address") -> "Location":
        """Of a local path or of `hdfs://…`, `s3://…`, `gs://…`; an InputError if no filesystem takes it."""
        if isinstance(address, Location):
            return address
        text = str(address)
        scheme, separator, rest = text.partition("://")
        if not separator:
            return cls(fs.LocalFileSystem(), os.path.abspath(text))  # noqa: PTH100 - Path.absolute() keeps `..`
        if scheme == "file":
            return cls(fs.LocalFileSystem(), "/" + rest.strip("/"))
        if scheme not in _STORES:
            raise InputError(f"{text}: no such kind of storage; known are local paths, {', '.join(_STORES)}")
        rest, _, options = rest.partition("?")
        host, _, path = rest.strip("/").partition("/")
        filesystem = _connect(scheme, host, options, text)
        is_hadoop = scheme in ("hdfs", "viewfs")
        bucket = host.rpartition("@")[2]  # before the @ may stand a key and its secret
        return cls(
            filesystem,
            f"/{path}" if is_hadoop else f"{bucket}/{path}".rstrip("/"),
            without_secrets(f"{scheme}://{host}") if is_hadoop else f"{scheme}://",
            without_secrets(f"?{options}") if options else "",
        )

    def __truediv__(self, name: str) -> "Location":
        return Location(self.filesystem, f"{self.path.rstrip('/')}/{name}", self.prefix, self.options)

    def __str__(self) -> str:
        return f"{self.prefix}{self.path}{self.options}"

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def parent(self) -> "Location":
        """The folder it lies in."""
        return Location(self.filesystem, self.path.rpartition("/")[0] or "/", self.prefix, self.options)

    @property
    def is_local(self) -> bool:
        return isinstance(self.filesystem, fs.LocalFileSystem)

    @property
    def has_folders(self) -> bool:
        """Whether its store knows folders, which S3 and Google's do not: there a name merely begins like others."""
        return self.is_local or isinstance(self.filesystem, fs.HadoopFileSystem)

    @property
    def size_bytes(self) -> int | None:
        """Of a file; None if there is no file of this name."""
        with self._named():
            info = self.filesystem.get_file_info(self.path)
        return int(info.size) if info.type == fs.FileType.File else None

    def is_folder(self) -> bool:
        with self._named():
            return bool(self.filesystem.get_file_info(self.path).type == fs.FileType.Directory)

    def files(self, below: bool = False) -> list[fs.FileInfo]:
        """Of the files in this folder (and `below` it), by path; none if there is no such folder."""
        with self._named():
            found = self.filesystem.get_file_info(fs.FileSelector(self.path, allow_not_found=True, recursive=below))
        return sorted((info for info in found if info.type == fs.FileType.File), key=lambda info: str(info.path))

    def folders(self) -> list[str]:
        """Names of the folders in this one, sorted."""
        with self._named():
            found = self.filesystem.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
        return sorted(info.base_name for info in found if info.type == fs.FileType.Directory)

    def read_bytes(self) -> bytes:
        """The whole file; FileNotFoundError if there is none."""
        with self._named(), self.filesystem.open_input_file(self.path) as file:
            return bytes(file.read())

    def open(self) -> pa.NativeFile:
        """The file for reading anywhere in it (`read_at(size, offset)`); FileNotFoundError if there is none."""
        with self._named():
            return self.filesystem.open_input_file(self.path)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Arrow's errors say what is wrong; raised from here they also name the file in the way of Python's own."""
        try:
            yield
        except OSError as error:
            what = str(error).strip().split("\n")[0].partition(" Detail: ")[0]
            raise OSError(error.errno or errno.EIO, what, str(self)) from None

    def write_bytes(self, content: bytes) -> None:
        """The file with this content, in one piece: readers see what was before or this."""
        with self.writing() as temporary:
            temporary.write_bytes(content)

    @contextmanager
    def writing(self) -> Iterator[Path]:
        """A local path to write to; what was written there appears under this name, whole and durable, at the end.

        If the block raises or makes no file, nothing appears, and what was there before stays.
        """
        if self.is_local:
            target = Path(self.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".{target.name}.{token_hex(8)}.tmp")
            try:
                yield temporary
                if temporary.exists():
                    sync(temporary)
                    temporary.replace(target)
                    sync(target.parent)
            finally:
                temporary.unlink(missing_ok=True)
        else:
            with tempfile.TemporaryDirectory(prefix="strata-") as folder:
                yield (temporary := Path(folder, "file"))
                if temporary.exists():
                    with self._named():
                        self._upload(temporary)

    def _upload(self, local: Path) -> None:
        # An object of S3 or Google's store appears when its upload is complete. HDFS shows a file while it grows.
        grows_in_sight = isinstance(self.filesystem, fs.HadoopFileSystem)
        target = f"{self.path}.{token_hex(8)}.tmp" if grows_in_sight else self.path
        if grows_in_sight:
            self.filesystem.create_dir(self.parent.path, recursive=True)
        with local.open("rb") as source, self.filesystem.open_output_stream(target, compression=None) as stream:
            shutil.copyfileobj(source, stream, _BLOCK_BYTES)
        if grows_in_sight:
            if self.size_bytes is not None:
                self.filesystem.delete_file(self.path)  # HDFS renames onto nothing that exists
            self.filesystem.move(target, self.path)

    def rename(self, target: "Location") -> None:
        """To a name of the same store that nothing has; a folder at once, where the store `has_folders`."""
        with self._named():
            self.filesystem.move(self.path, target.path)
        if self.is_local:
            sync(Path(target.path).parent)

    def remove(self) -> None:
        """The file or folder and all below it; nothing happens if there is none."""
        info = self.filesystem.get_file_info(self.path)
        if info.type == fs.FileType.Directory:
            self.filesystem.delete_dir(self.path)
        elif info.type == fs.FileType.File:
            self.filesystem.delete_file(self.path)


Address = Location | Path | str
"""Whatever `Location.at` takes."""


@lru_cache(maxsize=16)
def _connect(scheme: str, host: str, options: str, address: str) -> fs.FileSystem:
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if scheme == "s3" and endpoint and "endpoint_override" not in options:
        options = "&".join(filter(None, [options, f"endpoint_override={quote(endpoint, safe='')}"]))
    uri = f"{'gs' if scheme == 'gcs' else scheme}://{host}/" + (f"?{options}" if options else "")
    try:
        return fs.FileSystem.from_uri(uri)[0]
    except (pa.ArrowException, OSError, ValueError) as error:
        first_line = str(error).strip().split("\n")[0]
        raise InputError(f"{address}: {scheme} is not reachable from here: {first_line}") from None


def sync(path: Path) -> None:
    """Have a file's content, or a rename inside a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
