"""Where scores lie: out of sight while they are made, in their folder once they are whole.

    OUTPUT/report.json               what was scored, by what
    OUTPUT/scores/part-*.parquet     columns.SCORES, in the order of the source
    OUTPUT/rejects/part-*.parquet    columns.REJECTS, if there are any

Until then all of it is in `.OUTPUT-DIGEST.unfinished` beside it, with a journal of what is done.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from pipelines.config import InputError
from pipelines.dataset.storage import Location

FOLDER = "scores"
JOURNAL = "journal"
_REPORT = "report.json"


class Report(BaseModel):
    """What was scored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    identity: str
    """Digest of the model, the images and all settings that the output depends on."""
    model: str
    source: str
    scored: int
    rejected: dict[str, int]
    """By reason."""
    images_of_this_run: int
    """Not those that a job before it, which was killed, had scored."""
    seconds: float
    """That they took, on the executors."""
    settings: dict[str, Any]

    @property
    def images_per_s(self) -> float:
        return self.images_of_this_run / self.seconds


@dataclass(frozen=True)
class Output:
    """The place of one job's scores."""

    target: Location
    identity: str

    @classmethod
    def of(cls, path: str, identity: str) -> "Output":
        """An InputError if something else is there."""
        output = cls(Location.at(path), identity)
        there = output._report_in(output.target)
        if there is not None and there.identity != identity:
            raise InputError(
                f"output.path = {path} holds other scores, of {there.source} by {there.model}: give another path, or "
                "remove them"
            )
        if there is None and output._is_taken():
            raise InputError(f"output.path = {path} is there already, but holds no scores: give another path")
        return output

    def _is_taken(self) -> bool:
        halfway = not self.target.is_local and self.finished() is not None
        return self.target.size_bytes is not None or (bool(self.target.files(below=True)) and not halfway)

    @property
    def unfinished(self) -> Location:
        """The folder that the scores are made in."""
        return self.target.parent / f".{self.target.name}-{self.identity[:12]}.unfinished"

    def published(self) -> Report | None:
        """Of the target, if it is there."""
        return self._report_in(self.target)

    def finished(self) -> Report | None:
        """Of the unfinished folder, if nothing is left to do but to publish it."""
        return self._report_in(self.unfinished)

    @staticmethod
    def _report_in(folder: Location) -> Report | None:
        try:
            return Report.model_validate_json((folder / _REPORT).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValidationError:
            raise InputError(f"{folder / _REPORT} is no report of jobs/score.py: give another output.path") from None

    def finish(self, report: Report) -> None:
        """Nothing is left to do but to publish."""
        (self.unfinished / _REPORT).write_bytes(report.model_dump_json(indent=1).encode())

    def publish(self) -> Report:
        """Let the target be the unfinished folder, and remove others that were left for it."""
        report = self.finished()
        assert report is not None, "what is published was finished"
        (self.unfinished / JOURNAL).remove()
        for info in (self.unfinished / FOLDER).files():
            if info.base_name.endswith(".tmp"):  # of an executor that was killed
                (self.unfinished / FOLDER / info.base_name).remove()
        if self.unfinished.has_folders:
            self.unfinished.rename(self.target)
        else:
            self._move_files()
        left = re.compile(rf"\.{re.escape(self.target.name)}-[0-9a-f]{{12}}\.unfinished")
        for name in filter(left.fullmatch, self.target.parent.folders()):
            (self.target.parent / name).remove()
        return report

    def _move_files(self) -> None:
        """One by one, the report last: a job that is killed meanwhile goes on here."""
        skip = len(self.unfinished.path) + 1
        found = [str(info.path)[skip:] for info in self.unfinished.files(below=True)]
        for name in report_last(found):
            (self.unfinished / name).rename(self.target / name)


def report_last(names: Iterable[str]) -> list[str]:
    """Names of files below an output, in the order in which they may come into sight."""
    return sorted(names, key=lambda name: (name == _REPORT, name))
