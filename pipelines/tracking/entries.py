"""What a run is told: its entries, in the order in which they were logged, as JSON on their way to the store."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Begin(_Entry):
    """The first entry: what the run is, and where it goes."""

    kind: Literal["begin"] = "begin"
    spool: str
    """What the run is known by before the store has given it an id; the store has it as a tag."""
    name: str
    experiment: str
    uri: str
    """Of the store, without any password."""
    artifacts: str
    at_ms: int


class Child(_Entry):
    """The run is a child of another."""

    kind: Literal["child"] = "child"
    parent: str
    """Begin.spool of the other, which the store may not have yet."""


class Parameters(_Entry):
    kind: Literal["parameters"] = "parameters"
    values: dict[str, str]


class Tags(_Entry):
    kind: Literal["tags"] = "tags"
    values: dict[str, str]


class Metrics(_Entry):
    kind: Literal["metrics"] = "metrics"
    values: dict[str, float]
    step: int
    at_ms: int
    """When they were logged. The store knows a point by all of its key, step, time and value, so that one which is sent
    a second time changes nothing."""


class File(_Entry):
    """A file of the spool."""

    kind: Literal["file"] = "file"
    path: str
    """Below the spool's folder; its last part is the name that the artifact gets."""
    folder: str = ""
    """Of the run's artifacts."""


class Dataset(_Entry):
    kind: Literal["dataset"] = "dataset"
    name: str
    digest: str
    source: str
    """Its address, without any password."""
    context: str


class Model(_Entry):
    """A folder of the spool in MLflow's own format."""

    kind: Literal["model"] = "model"
    path: str
    """Below the spool's folder."""


class Status(_Entry):
    kind: Literal["status"] = "status"
    status: Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
    at_ms: int


Entry = Begin | Child | Parameters | Tags | Metrics | File | Dataset | Model | Status

_ADAPTER: TypeAdapter[Entry] = TypeAdapter(Annotated[Entry, Field(discriminator="kind")])


def entry_from(tree: Any) -> Entry:
    """What `model_dump` gave, as an entry again; a ValidationError if it is none."""
    return _ADAPTER.validate_python(tree)
