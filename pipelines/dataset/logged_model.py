"""What a logged model carries beside its graph: the way from an image file to its input, and what its output means."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipelines.config import ImageSettings, Settings, Transform
from pipelines.dataset.manifest import Manifest


class ModelMetadata(Settings):
    """Logged with a model: whoever has the model alone can give it any image file, and name what it answers."""

    image: ImageSettings
    """How image files became those of the dataset that it was trained on."""
    transforms: tuple[Transform, ...]
    """How its training showed it validation images of that dataset."""
    class_names: tuple[str, ...]
    """By label."""
    output: Literal["logits", "probabilities"]
    """What it answers, a number a class."""
    dataset_digest: str


def metadata_of(
    manifest: Manifest, transforms: Sequence[Transform], output: Literal["logits", "probabilities"]
) -> ModelMetadata:
    """Of a model trained on that dataset. transforms: of the validation images."""
    return ModelMetadata(
        image=ImageSettings.model_validate(manifest.configuration["image"]),
        transforms=tuple(transforms),
        class_names=tuple(manifest.class_names),
        output=output,
        dataset_digest=manifest.digest,
    )


@dataclass(frozen=True)
class LoggedModel:
    """A model that was fetched from where it was logged."""

    uri: str
    """MLflow's, with the version in place of an alias."""
    graph: Path
    """torch's exported program: uint8 (N, H, W, C), any N, to float32 (N, classes)."""
    input_shape: tuple[int, int, int]
    """(H, W, C)"""
    metadata: ModelMetadata
