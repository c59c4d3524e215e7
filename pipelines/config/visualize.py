"""Settings of jobs/visualize.py."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from pipelines.config.base import Settings
from pipelines.config.tracking import TrackingSettings


class VisualizeSettings(Settings):
    """Settings of jobs/visualize.py: pictures of what a trained network responds to and what its answers depend on."""

    run: str
    """Id or name of a finished training of the experiment, or the path of a checkpoint (…/epoch-0020.pt)."""
    dataset: str
    """Folder or address of the dataset that the network was trained on; its validation images are shown."""
    layers: tuple[str, ...] = ()
    """Layers to look into, by their names in the network; empty: the last of every resolution. A name that there is not
    is answered with a list of those there are."""
    maps: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Feature maps, counted from 0, whose strongest activations are searched; empty: of each layer the nine that the
    first of images excites most."""
    images: tuple[Annotated[int, Field(ge=0)] | str, ...] = Field((0, 1, 2), min_length=1)
    """Validation images to show, by key or by place, counted from 0: their feature maps, occlusion and saliency."""
    search_images: int | None = Field(None, ge=1)
    """Validation images among which the strongest activations are searched; none: all of them."""
    occluder_size: int | None = Field(None, ge=1)
    """Side in pixels of the grey square that covers a part of an image; none: a quarter of the shorter side."""
    occluder_stride: int | None = Field(None, ge=1)
    """Pixels between two places of the square; none: a thirty-second of the shorter side."""
    output: Path = Path("work/pictures")
    """The pictures go to a folder of this one, named after the run."""
    batch: int = Field(64, ge=1)
    """Images in one forward pass."""
    decode_threads: int = Field(2, ge=1)
    """Threads that decode images."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: a GPU if there is one."""
    tracking: TrackingSettings = TrackingSettings()
