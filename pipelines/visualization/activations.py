"""The images that excite feature maps most, found in one pass over a split (Zeiler and Fergus 2014, Fig. 2)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from models.classifier import Classifier
from pipelines.config import InputError
from pipelines.visualization.layers import outputs_of


class NumberedImages(Protocol):
    """A batch on the model's device: images uint8 (N, H, W, C), their keys, labels int64 (N,), rows int64 (N,).

    Keys are empty, and rows and labels -1, where padding.
    """

    @property
    def images(self) -> Tensor: ...
    @property
    def labels(self) -> Tensor: ...
    @property
    def keys(self) -> tuple[str, ...]: ...
    @property
    def rows(self) -> Tensor: ...


@dataclass(frozen=True)
class Strongest:
    """Of each of M feature maps of a layer, the K images with the highest activation anywhere, the highest first."""

    maps: tuple[int, ...]
    values: Tensor
    """(M, K), the activations."""
    rows: Tensor
    """int64 (M, K), the images' places in the split."""
    positions: Tensor
    """int64 (M, K, 2), row and column of the activation in the map."""
    images: dict[int, Tensor]
    """uint8 (H, W, C) by place in the split."""

    def images_of(self, place: int) -> Tensor:
        """uint8 (K, H, W, C): those of the map at that place in `maps`."""
        return torch.stack([self.images[row] for row in self.rows[place].tolist()])


def find_strongest(
    model: Classifier,
    batches: Iterable[NumberedImages],
    wanted: Mapping[str, Sequence[int]],
    count: int = 9,
    most_images: int | None = None,
) -> dict[str, Strongest]:
    """Per layer of `wanted`, of each of its feature maps named there, the `count` strongest activations.

    An image counts once for a map, with its strongest position. Of equals, the image that came first. Only the images
    that are among the strongest stay in memory. most_images: stop after so many. Raises InputError if activations are
    no numbers, as after a training that diverged.
    """
    best: dict[str, _Best] = {layer: _Best(tuple(maps), count) for layer, maps in wanted.items()}
    seen = 0
    with outputs_of(model.network, list(wanted)) as outputs:
        for batch in batches:
            real = [place for place, key in enumerate(batch.keys) if key]
            real = real if most_images is None else real[: most_images - seen]
            seen += len(real)
            with torch.no_grad():
                model(batch.images[real])
            for layer, of_layer in best.items():
                of_layer.add(_checked(layer, outputs[layer]), batch.rows[real], batch.images[real])
            if seen == most_images:
                break
    return {layer: of_layer.found() for layer, of_layer in best.items()}


def _checked(layer: str, output: Tensor) -> Tensor:
    if not output.isfinite().all():
        raise InputError(f"layer {layer} gives values that are no finite numbers: its training diverged")
    return output


class _Best:
    """The best of one layer so far."""

    def __init__(self, maps: tuple[int, ...], count: int) -> None:
        self._maps, self._count = maps, count
        self._values = torch.empty(0, len(maps))
        self._rows = torch.empty(0, len(maps), dtype=torch.int64)
        self._places = torch.empty(0, len(maps), 2, dtype=torch.int64)
        self._images: dict[int, Tensor] = {}

    def add(self, output_NCHW: Tensor, rows: Tensor, images: Tensor) -> None:
        width = output_NCHW.shape[3]
        values, at = output_NCHW[:, list(self._maps)].flatten(2).max(2)
        values, at = values.cpu(), at.cpu()
        places = torch.stack([at // width, at % width], 2)
        all_values = torch.cat([self._values, values])
        order = all_values.sort(dim=0, descending=True, stable=True).indices[: self._count]
        self._values = all_values.gather(0, order)
        self._rows = torch.cat([self._rows, rows.cpu()[:, None].expand(-1, len(self._maps))]).gather(0, order)
        self._places = torch.cat([self._places, places]).gather(0, order[:, :, None].expand(-1, -1, 2))
        self._keep(rows.tolist(), images)

    def _keep(self, rows: Sequence[int], images: Tensor) -> None:
        """Copies: the batch's memory is used again, and a view of one image would keep all of its batch."""
        wanted = set(self._rows.flatten().tolist())
        kept = {row: image for row, image in self._images.items() if row in wanted}
        self._images = kept | {row: image.clone() for row, image in zip(rows, images, strict=True) if row in wanted}

    def found(self) -> Strongest:
        return Strongest(self._maps, self._values.T, self._rows.T, self._places.transpose(0, 1), self._images)
