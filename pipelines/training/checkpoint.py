"""Checkpoints: all that is needed to go on training, in files that are whole or not there."""

import fcntl
import io
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, Any
from zipfile import BadZipFile

import torch

from pipelines.config import InputError
from pipelines.dataset.storage import sync
from pipelines.dataset.torch_archive import refuse_foreign_tensors
from pipelines.training.checkpoint_file import refuse_repeated
from pipelines.training.workers import Workers

KEEP = 2
"""Checkpoints kept: the newest, and one before it in case the newest turns out damaged."""


_NAME = re.compile(r"epoch-(?P<epoch>\d+)(-step-(?P<step>\d+))?")


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training after `epoch` epochs, or within the one that comes after them."""

    epoch: int
    """Epochs trained and validated."""
    step: int
    """Steps done, counted through all epochs."""
    epoch_sums: list[float]
    """Of the epoch that has begun, over all workers; see figures.sums."""
    model: dict[str, Any]
    optimizer: dict[str, Any]
    val_errors: list[float]
    """Top-1 error on the validation images after each epoch: schedules and early stopping go by them."""
    average: dict[str, Any] | None
    """The moving average of the model's weights, if there is one."""
    about: dict[str, Any]
    """What was trained: settings, dataset digest, input size; JSON types only."""
    precision: dict[str, Any] = field(default_factory=dict)
    """The loss's scale, of float16."""

    @property
    def name(self) -> str:
        """Of its file, without the ending."""
        return f"epoch-{self.epoch:04d}" + (f"-step-{self.step:08d}" if any(self.epoch_sums) else "")

    def best_epochs(self, count: int) -> list[int]:
        """Epochs until now with the lowest errors, counted from 1; of equal ones the latest."""
        epochs = range(1, len(self.val_errors) + 1)
        return sorted(epochs, key=lambda epoch: (self.val_errors[epoch - 1], -epoch))[:count]

    def to_bytes(self) -> bytes:
        buffer = io.BytesIO()
        torch.save(self.__dict__, buffer)
        return buffer.getvalue()

    @staticmethod
    def from_bytes(content: bytes, name: str) -> "Checkpoint":
        """Raises InputError that names the checkpoint if it is damaged. Runs no code that it may contain."""
        try:
            refuse_foreign_tensors(content)
            tree = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            refuse_repeated(tree)
            return Checkpoint(**tree)
        except (
            BadZipFile,
            NotImplementedError,
            RuntimeError,
            LookupError,
            AttributeError,
            EOFError,
            TypeError,
            ValueError,
            OSError,
            UnpicklingError,
        ) as error:
            first_line = str(error).strip().split("\n")[0]
            raise InputError(f"{name}: damaged, or not a checkpoint of ours: {first_line}") from None


@contextmanager
def held(folder: Path, patience_s: float = 20) -> Iterator[None]:
    """Keep a training's folder, made if it is new, to this process; an InputError if another process has it.

    patience_s: for one that is about to end, such as a worker whose launcher was killed while it saves.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        deadline = time.monotonic() + patience_s
        while not _locked(lock):
            if time.monotonic() > deadline:
                raise InputError(f"{folder}: another process is at this very training; wait for it, or end it")
            time.sleep(0.1)
        yield


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def save(checkpoint: Checkpoint, folder: Path, keep_best: int = 1) -> Path:
    """Write the checkpoint atomically. Once it has proved readable older ones go, but for the KEEP newest and the best.

    keep_best: of the ends of epochs, so many with the lowest errors stay. Raises InputError if it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{checkpoint.name}.pt"
    temporary = path.with_suffix(".tmp")
    try:
        with temporary.open("wb") as file:
            file.write(checkpoint.to_bytes())
            file.flush()
            os.fsync(file.fileno())
        Checkpoint.from_bytes(temporary.read_bytes(), str(temporary))
        temporary.replace(path)
        sync(folder)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise InputError(
            f"{path}: cannot be written: {error.strerror or error}; the checkpoints before it are kept, and the same "
            "command goes on from them"
        ) from None
    best = {f"epoch-{epoch:04d}" for epoch in checkpoint.best_epochs(keep_best)}
    for old in newest_first(folder)[KEEP:]:
        if old.stem not in best:
            old.unlink()
    return path


def newest_first(folder: Path) -> list[Path]:
    """The checkpoints in a folder."""
    found = [(match, path) for path in folder.glob("epoch-*.pt") if (match := _NAME.fullmatch(path.stem))]
    found.sort(key=lambda item: (int(item[0]["epoch"]), int(item[0]["step"] or 0)), reverse=True)
    return [path for _, path in found]


def newest_good(folder: Path) -> bytes:
    """The newest checkpoint that can be read; empty if there is none. Damaged ones are named on the way."""
    for path in newest_first(folder):
        content = path.read_bytes()
        try:
            Checkpoint.from_bytes(content, str(path))
        except InputError as error:
            print(f"warning: {error}; trying the one before", flush=True)
        else:
            return content
    return b""


def read_checkpoint(path: Path, workers: Workers) -> Checkpoint:
    """The checkpoint at `path` of rank 0's disk, on every worker; an InputError if it is missing or damaged."""
    content = None
    if workers.rank == 0:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: no checkpoint to read: {error.strerror}") from None
    return Checkpoint.from_bytes(workers.share_bytes(content), str(path))
