"""What a job says about its run: parameters, metrics, tags, files, pictures, dataset, model. Rank 0 alone has a run.

A training's SpooledTracker writes to local disk alone. Jobs that need the store anyway use MlflowTracker.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from matplotlib.figure import Figure
from typing_extensions import Self

from pipelines.config import without_secrets
from pipelines.dataset.logged_model import ModelMetadata
from pipelines.dataset.manifest import Manifest
from pipelines.dataset.storage import Address, Location
from pipelines.tracking.entries import Dataset, Entry, File, Metrics, Model, Parameters, Status, Tags

if TYPE_CHECKING:
    from torch import Tensor, nn

LONGEST_PARAMETER = 6000
"""Characters of a value; MLflow takes no more."""
SHORTENED = "… (shortened; whole in settings.yaml)"
LONGEST_DIGEST = 36


class Tracker(ABC):
    """One run. No password in an address that is among parameters, tags or texts gets into it."""

    was_finished: bool
    """Whether the run had come to its end before it was taken up: then it stays at that."""

    @property
    @abstractmethod
    def run_id(self) -> str:
        """The store's; empty: it does not know the run yet."""

    @abstractmethod
    def _record(self, entry: Entry) -> None: ...

    @abstractmethod
    def _keep(self, source: Path) -> str:
        """A file or folder that stays as it is until it is recorded; its path for an entry."""

    def log_parameters(self, parameters: dict[str, Any]) -> None:
        """Settings by dotted key. The store keeps a parameter for good: one that changed becomes a tag."""
        self._record(Parameters(values={key: _short(without_secrets(str(item))) for key, item in parameters.items()}))

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Figures at one step (or epoch) of their curves."""
        self._record(Metrics(values=metrics, step=step, at_ms=now_ms()))

    def log_tags(self, tags: dict[str, str]) -> None:
        """What a person looks for a run by."""
        self._record(Tags(values={key: without_secrets(value) for key, value in tags.items()}))

    def log_text(self, text: str, name: str) -> None:
        """A small file among the run's artifacts; its name may have folders."""
        with self._file_to_log(name) as path:
            path.write_text(without_secrets(text))

    def log_figure(self, figure: Figure, name: str) -> None:
        """A picture among the run's artifacts."""
        with self._file_to_log(name) as path:
            figure.savefig(path)

    @contextmanager
    def _file_to_log(self, name: str) -> Iterator[Path]:
        with TemporaryDirectory() as folder:
            path = Path(folder) / Path(name).name
            yield path
            self.log_file(path, name.rpartition("/")[0])

    def log_file(self, path: Path, folder: str) -> None:
        """A local file, into a folder of the run's artifacts."""
        self._record(File(path=self._keep(path), folder=folder))

    def log_dataset(self, root: Address, manifest: Manifest, context: str) -> None:
        """The dataset the run used, by its digest."""
        location = Location.at(root)
        digest = manifest.digest[:LONGEST_DIGEST]
        self._record(Dataset(name=location.name, digest=digest, source=str(location), context=context))
        self.log_tags({"strata.dataset_digest": manifest.digest})

    def log_model(self, model: "nn.Module", images: "Tensor", metadata: ModelMetadata) -> None:
        """The trained model; see save_model, whose arguments these are."""
        from pipelines.tracking.model import save_model

        with TemporaryDirectory() as folder:
            save_model(model, images, metadata, Path(folder, "model"))
            self._record(Model(path=self._keep(Path(folder, "model"))))

    def __enter__(self) -> Self:
        """The run is at work from here on."""
        if not self.was_finished:
            self._record(Status(status="RUNNING", at_ms=now_ms()))
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        """FINISHED, FAILED, or KILLED where a signal ended it; a run that was finished before stays as it is."""
        if self.was_finished:
            return
        if error_type is None:
            self.finish()
        else:
            self.finish("FAILED" if issubclass(error_type, Exception) else "KILLED")

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"] = "FINISHED") -> None:
        """End the run."""
        self._record(Status(status=status, at_ms=now_ms()))


def now_ms() -> int:
    """As MLflow counts time."""
    return time.time_ns() // 1_000_000


def _short(value: str) -> str:
    return value if len(value) <= LONGEST_PARAMETER else value[: LONGEST_PARAMETER - len(SHORTENED)] + SHORTENED
