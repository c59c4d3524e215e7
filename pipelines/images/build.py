"""An entry of a configuration's list of transforms to the steps that it stands for."""

from collections.abc import Callable
from typing import Any

from pipelines.config import Settings, transforms
from pipelines.images import steps
from pipelines.images.steps import PrincipalComponents, Step
from pipelines.images.transforms import resample, resize

_BUILD: dict[type[Settings], Callable[[Any], list[Step]]] = {
    transforms.Pad: lambda settings: [steps.Pad(settings.size)],
    transforms.CentreCrop: lambda settings: [steps.CentreCrop(settings)],
    transforms.RandomCrop: lambda settings: [
        *([steps.Pad(border=settings.padding)] if settings.padding else []),
        steps.RandomCrop(settings),
    ],
    transforms.RandomFlip: lambda settings: [steps.RandomFlip(settings)],
    transforms.RandomResizedCrop: lambda settings: [steps.RandomResizedCrop(settings)],
    transforms.Affine: lambda settings: [steps.Affine(settings)],
    transforms.Resize: lambda settings: [steps.ShorterSide([settings.size], resize)],
    transforms.ScaleJitter: lambda settings: [steps.ShorterSide(range(settings.low, settings.high + 1), resample)],
    transforms.MultiScale: lambda settings: [steps.ShorterSide(settings.sizes, resample)],
    transforms.ColourJitter: lambda settings: [steps.ColourJitter(settings)],
    transforms.TenCrop: lambda settings: [steps.TenCrop(settings)],
}


def build(transform: transforms.Transform, components: PrincipalComponents | None) -> list[Step]:
    """The steps of one entry, in order; components: what pca_lighting needs."""
    if isinstance(transform, transforms.PcaLighting):
        assert components is not None, "whoever reads pca_lighting has a dataset's statistics"
        return [steps.PcaLighting(transform, components)]
    return _BUILD[type(transform)](transform)
