"""Settings of jobs/summarize.py."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from pipelines.config.base import InputError, Settings

Form = Literal["text", "markdown", "csv", "picture"]
_ENDINGS: dict[str, Form] = {
    ".txt": "text",
    ".md": "markdown",
    ".csv": "csv",
    ".png": "picture",
    ".svg": "picture",
    ".pdf": "picture",
}


class SummarizeSettings(Settings):
    """Settings of jobs/summarize.py: a network's layers with their shapes, memory, parameters and receptive fields."""

    network: str = ""
    """One of models.names(), such as vgg_d; it may be given as the first word, without its key."""
    compare: bool = False
    """All networks of the revolution of depth side by side, with their published errors; --compare does the same."""
    input_size: int | None = Field(None, ge=1, le=4096)
    """Pixels a side; none: as in the network's paper."""
    num_classes: int | None = Field(None, ge=1, le=1_000_000)
    """None: as in the network's paper."""
    in_channels: int | None = Field(None, ge=1, le=1024)
    """None: as in the network's paper."""
    options: dict[str, Any] = Field({})
    """Of the network, such as options.batch_norm=true for VGG; its file in models/ says which there are."""
    batch_size: int = Field(128, ge=1, le=1_000_000)
    """Images in one training step, for the memory it takes."""
    format: Literal["text", "markdown", "csv", "picture"] | None = None
    """None: what the output's name ends with (.txt, .md, .csv, .png, .svg, .pdf) stands for; text without an output."""
    output: Path | None = None
    """File to write; none: the table is printed, and a picture goes to work/summaries/."""

    @model_validator(mode="after")
    def _about_one_or_all(self) -> "SummarizeSettings":
        if not self.network and not self.compare:
            raise InputError("network is missing: name one first, as in `summarize.py vgg_d`, or give --compare")
        alone = ("network", "input_size", "num_classes", "in_channels", "batch_size", "options")
        given = [key for key in alone if key in self.model_fields_set]
        if self.compare and given:
            raise InputError(f"{given[0]} is for one network and --compare takes all as in their papers: leave one out")
        return self

    @model_validator(mode="after")
    def _output_has_a_format(self) -> "SummarizeSettings":
        if self.output and not self.format and self.output.suffix not in _ENDINGS:
            raise InputError(
                f"output = {self.output}: its name ends with none of {' '.join(_ENDINGS)}; rename it or give format=…"
            )
        if self.output and self.format == "picture" and _ENDINGS.get(self.output.suffix) != "picture":
            raise InputError(f"output = {self.output}: a picture's name ends with .png, .svg or .pdf")
        return self

    @property
    def form(self) -> Form:
        """The format that was asked for in either way."""
        return self.format or _ENDINGS[self.output.suffix if self.output else ".txt"]
