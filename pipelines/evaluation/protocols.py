"""Evaluation protocols: which views of an image a network sees, and how its answers become one."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.classifier import Classifier
from models.dense import Dense
from models.sizes import Size
from pipelines.config import CentreCrop, InputError, ProtocolSettings, Resize, TenCrop, Transform
from pipelines.evaluation.metrics import NamedImages, Prediction, average_of, real_places, scores_of_views
from pipelines.images.augmentation import Drawn

Score = Callable[[Tensor], Tensor]
"""uint8 images of one size (N, H, W, C), or views (N, V, H, W, C), to logits (N, classes)."""


class SizedImages(NamedImages, Protocol):
    """Also the sizes of images that are no padding, which come first."""

    @property
    def drawn(self) -> Drawn: ...


@dataclass(frozen=True)
class Showing:
    """A protocol for one network."""

    transforms: tuple[tuple[Transform, ...], ...]
    """What the loader does to the images, for each test scale; their predictions are averaged."""
    whole: bool
    """Images come whole, so they may differ in size: Loader.pad_to_largest."""
    least: Size
    """(height, width) that whole images must have."""
    score: Score

    def predict(self, batches_of_scales: Iterable[Sequence[SizedImages]]) -> Iterator[Prediction]:
        """The predictions of each batch, which comes once for each test scale with the same images in it.

        Raises InputError that names the image if one is too small.
        """
        for batches in batches_of_scales:
            real = real_places(batches[0].keys)
            if real:
                with torch.no_grad():
                    logits = average_of([self._scores(batch, real) for batch in batches])
                yield Prediction([batches[0].keys[place] for place in real], batches[0].labels[real], logits)

    def _scores(self, batch: SizedImages, real: Sequence[int]) -> Tensor:
        if not self.whole:
            return self.score(batch.images[real])
        sizes = batch.drawn.sizes
        self._check(batch.keys, sizes)
        # As many at once as have the pixels of a batch of crops, whatever their size.
        budget = len(batch.keys) * self.least[0] * self.least[1]
        groups = [group for size in np.unique(sizes, axis=0) for group in _of_size(sizes, size, budget)]
        in_groups = [self.score(batch.images[group, : sizes[group[0], 0], : sizes[group[0], 1]]) for group in groups]
        order = np.argsort(np.concatenate(groups))
        return torch.cat(in_groups)[order]

    def _check(self, keys: Sequence[str], sizes: NDArray[np.int64]) -> None:
        small = np.flatnonzero((sizes < self.least).any(1))
        if len(small):
            (height, width), (least_height, least_width) = sizes[small[0]], self.least
            raise InputError(
                f"image {keys[small[0]]} is {height} x {width}, smaller than the {least_height} x {least_width} that "
                "the network looks at: set protocol.test_scales to at least that"
            )


def _of_size(sizes: NDArray[np.int64], size: NDArray[np.int64], budget: int) -> Iterator[NDArray[np.int64]]:
    """Places of the images of that size, a few at once."""
    places = np.flatnonzero((sizes == size).all(1))
    at_once = max(1, budget // int(size.prod()))
    for start in range(0, len(places), at_once):
        yield places[start : start + at_once]


def showing(
    settings: ProtocolSettings, model: Classifier, input_size: Size, val_transforms: tuple[Transform, ...]
) -> Showing:
    """The protocol for a network in evaluation mode.

    input_size: of the images that it was trained on. val_transforms: how its training validated.
    Raises InputError if crops are wanted and those images were not square.
    """
    of_views = partial(scores_of_views, model)
    if settings.kind == "as_trained":
        return Showing((val_transforms,), False, input_size, of_views)
    scales: list[tuple[Transform, ...]] = [(Resize(kind="resize", size=scale),) for scale in settings.test_scales]
    scales = scales or [()]
    if settings.kind == "dense":
        dense = Dense(model.network, model.mean.shape[1], input_size).eval()
        return Showing(tuple(scales), True, input_size, partial(_dense_scores, model, dense, settings.flip))
    crop = _side_of_crops(settings, input_size)
    if settings.kind == "multi_crop":
        of_crops = partial(_crop_scores, model, crop, settings.grid, settings.flip)
        return Showing(tuple(scales), True, (crop, crop), of_crops)
    last: Transform = (
        CentreCrop(kind="centre_crop", size=crop)
        if settings.kind == "centre_crop"
        else TenCrop(kind="ten_crop", size=crop)
    )
    return Showing(tuple((*scale, last) for scale in scales), False, (crop, crop), of_views)


def _side_of_crops(settings: ProtocolSettings, input_size: Size) -> int:
    if settings.crop is None and input_size[0] != input_size[1]:
        raise InputError(
            f"protocol.kind = {settings.kind}: the network was trained on images of {input_size[0]} x {input_size[1]}, "
            "and crops are square: set protocol.crop, or take as_trained or dense"
        )
    return settings.crop or input_size[0]


def _dense_scores(model: Classifier, dense: Dense, flip: bool, images_NHWC: Tensor) -> Tensor:
    """Simonyan and Zisserman 2015, section 3.2: the class score map is averaged, then the posteriors of both twins."""
    twins = [images_NHWC, images_NHWC.flip(2)] if flip else [images_NHWC]
    return average_of([dense(model.normalised(images)).mean((2, 3)) for images in twins])


def _crop_scores(model: Classifier, side: int, grid: int, flip: bool, images_NHWC: Tensor) -> Tensor:
    height, width = images_NHWC.shape[1:3]
    scores = []
    for top in grid_places(height - side, grid):
        for left in grid_places(width - side, grid):
            crops = images_NHWC[:, top : top + side, left : left + side]
            scores += [model(crops), model(crops.flip(2))] if flip else [model(crops)]
    return average_of(scores)


def grid_places(room: int, grid: int) -> list[int]:
    """Where `grid` crops begin, from 0 to `room` in equal steps, rounded to pixels; one begins in the middle."""
    places = np.linspace(0, room, grid) if grid > 1 else np.array([room / 2])
    return [int(place) for place in np.rint(places)]
