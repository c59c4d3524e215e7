"""The steps of an augmentation, one class for each kind of transform: how parameters are drawn, and for which sizes.

A step draws for many images at once, from uniform numbers, and applies what it drew to one image at a time.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.config import InputError
from pipelines.config import transforms as configured
from pipelines.images.codec import Image
from pipelines.images.regions import Region
from pipelines.images.transforms import (
    Colours,
    change_colours,
    flip,
    pad,
    part,
    resample,
    shift_colours,
    shorter_side_to,
    ten_crop,
    warp,
)

Floats = NDArray[np.float64]
Matrix = tuple[tuple[float, float, float], ...]
Sizes = NDArray[np.int64]
"""(N, 2): heights and widths in pixels."""


class PrincipalComponents(NamedTuple):
    """Of the colours of a dataset's training pixels, on the [0, 1] scale."""

    eigenvalues: tuple[float, ...]
    eigenvectors: tuple[tuple[float, ...], ...]
    """A row a channel, a column an eigenvalue."""


class UnfitError(InputError):
    """A step cannot take an image of its size."""

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index
        """Which of the images that were drawn for."""


class Step(ABC):
    draws: int = 0
    """Uniform numbers that one image's parameters take."""

    @abstractmethod
    def draw(self, uniforms: Floats, sizes: Sizes) -> tuple[list[Any], Sizes]:
        """Parameters for each of N images, and the sizes that they get. uniforms: (N, draws) in [0, 1).

        Raises UnfitError if an image's size will not do.
        """

    @abstractmethod
    def apply(self, pixels: Image, parameters: Any, out: Image | None = None) -> Image:
        """The image with these parameters; the step may write it to `out`, and then returns `out`."""

    def changes(self, parameters: Any) -> bool:
        """False if applying these parameters leaves every image as it is."""
        return True


class Crop(Step):
    """A step whose parameters are the region that it takes of an image."""

    at_least: tuple[int, int] = (0, 0)
    """(height, width) of a region that suffice for what comes after; (0, 0): its own size is needed."""

    def apply(self, pixels: Image, parameters: Region, out: Image | None = None) -> Image:
        return part(pixels, parameters)


def _regions(count: int, *sides: int | NDArray[Any]) -> list[Region]:
    """sides: top, left, height and width, for all or each of `count` images."""
    table = np.stack([np.broadcast_to(side, count) for side in sides], 1)
    return [Region(*row) for row in table.astype(np.int64).tolist()]


def _check_fits(sizes: Sizes, size: int) -> None:
    small = np.flatnonzero(sizes.min(1) < size)
    if len(small):
        height, width = sizes[small[0]]
        raise UnfitError(
            int(small[0]),
            f"crop of {size} pixels: the image is {height} x {width}, smaller; pad it or store it larger",
        )


def _all_of(size: int, count: int) -> Sizes:
    return np.full((count, 2), size, np.int64)


class CentreCrop(Crop):
    def __init__(self, settings: configured.CentreCrop) -> None:
        self._size = settings.size

    def draw(self, uniforms: Floats, sizes: Sizes) -> tuple[list[Region], Sizes]:
        _check_fits(sizes, self._size)
        top, left = ((sizes - self._size) // 2).T
        return _regions(len(sizes), top, left, self._size, self._size), _all_of(self._size, len(sizes))


class RandomCrop(Crop):
    draws = 2

    def __init__(self, settings: configured.RandomCrop) -> None:
        self._size = settings.size

    def draw(self, uniforms: Floats, sizes: Sizes) -> tuple[list[Region], Sizes]:
        _check_fits(sizes, self._size)
        top, left = np.floor(uniforms * (sizes - self._size + 1)).T
        return _regions(len(sizes), top, left, self._size, self._size), _all_of(self._size, len(sizes))


class RandomResizedCrop(Crop):
    """Szegedy et al. 2015 (GoogLeNet), section 6: area 8% to 100%, aspect ratio 3/4 to 4/3.

    If ten draws do not fit into the image, the largest central part with a legal ratio is taken, as in torchvision.
    """

    _TRIES = 10
    draws = 2 * _TRIES + 2

    def __init__(self, settings: configured.RandomResizedCrop) -> None:
        self._settings = settings
        self.at_least = (settings.size, settings.size)

    def draw(self, uniforms: Floats, sizes: Sizes) -> tuple[list[Region], Sizes]:
        scale, ratio, tries = self._settings.scale, self._settings.ratio, self._TRIES
        heights, widths = sizes.T
        areas = (heights * widths)[:, None] * (scale[0] + (scale[1] - scale[0]) * uniforms[:, :tries])
        aspects = np.exp(np.log(ratio[0]) + np.log(ratio[1] / ratio[0]) * uniforms[:, tries : 2 * tries])
        parts = np.rint(np.sqrt([areas / aspects, areas * aspects]))
        fit = ((parts > 0) & (parts <= sizes.T[:, :, None])).all(0)
        chosen = np.take_along_axis(parts, fit.argmax(1)[None, :, None], 2)[:, :, 0]
        largest = np.minimum(sizes.T, np.rint([widths / ratio[0], heights * ratio[1]]))
        part_sizes = np.where(fit.any(1), chosen, largest)
        free = sizes.T - part_sizes
        top, left = np.where(fit.any(1), np.floor(uniforms[:, -2:].T * (free + 1)), free // 2)
        return _regions(len(sizes), top, left, *part_sizes), _all_of(self._settings.size, len(sizes))

    def apply(self, pixels: Image, parameters: Region, out: Image | None = None) -> Image:
        size = self._settings.size
        return resample(part(pixels, parameters), size, size, self._settings.interpolation, out)


class Pad(Step):
    """Parameters: top, left, height and width of `transforms.pad`."""

    def __init__(self, size: int | None = None, border: int = 0) -> None:
        self._size = size
        self._border = border

    def draw(self, uniforms: Floats, sizes: Sizes) -> tuple[list[Any], Sizes]:
        padded = sizes + 2 * self._border if self._size is None else _all_of(self._size, len(sizes))
        large = np.flatnonzero((sizes > padded).any(1))
        if len(large):
            height, width = sizes[large[0]]
            raise UnfitError(
                int(large[0]), f"pad to {self._size} pixels: the image is {height} x {width}, larger; crop it"
            )
        return np.concatenate([(padded - sizes) // 2, padded], 1).tolist(), padded

    def apply(self, pixels: Image, parameters: Any, out: Image | None = None) -> Image:
        return pad(pixels, *parameters)


class RandomFlip(Step):
    """Parameters: whether it is mirrored."""

    draws = 1

    def __init__(self, settings: configured.RandomFlip) -> None:
        self._probability = settings.probability

    def draw(self, uniforms: Floats, sizes: Sizes) -> tuple[list[bool], Sizes]:
        return (uniforms[:, 0] < self._probability).tolist(), sizes

    def apply(self, pixels: Image, parameters: bool, out: Image | None = None) -> Image:
        return flip(pixels, out)

    def changes(self, parameters: bool) -> bool:
        return parameters


class Affine(Step):
    """The distortions of LeCun et al. 1998, section III.C: translations, scaling, squeezing and horizontal shearing.

    Parameters: the matrix of `transforms.warp`. An image is squeezed and scaled, then sheared, then moved. Each amount
    is drawn evenly from its range; of scale and squeeze, which are factors, the logarithm is.
    """

    draws = 5

    def __init__(self, settings: configured.Affine) -> None:
        self._settings = settings
        self._log_scale = np.log(settings.scale)

    def draw(self, uniforms: Floats, sizes: Sizes) -> tuple[list[Matrix], Sizes]:
        settings, (low, high) = self._settings, self._log_scale
        down, across, shear, squeeze = (2 * uniforms[:, :4] - 1).T
        scale, wider = np.exp(low + (high - low) * uniforms[:, 4]), (1 + settings.squeeze) ** squeeze
        matrices = np.zeros((len(sizes), 2, 3))
        matrices[:, 0, 0] = scale * wider
        matrices[:, 1, 1] = scale / wider
        matrices[:, 0, 1] = settings.shear * shear * matrices[:, 1, 1]
        matrices[:, :, 2] = settings.translation * np.stack([across, down], 1) * sizes[:, ::-1]
        return [tuple(map(tuple, matrix)) for matrix in matrices.tolist()], sizes

    def apply(self, pixels: Image, parameters: Matrix, out: Image | None = None) -> Image:
        return warp(pixels, parameters, self._settings.border, out)

    def changes(self, parameters: Matrix) -> bool:
        return parameters != ((1, 0, 0), (0, 1, 0))


class ShorterSide(Step):
    """Parameters: (height, width) of the result. The shorter side is the same for all, or drawn from a list.

    Simonyan and Zisserman 2015 (VGG), section 3.1, has both: a random side in [256, 512], and several fixed ones.
    """

    def __init__(self, sides: Sequence[int], how: Callable[..., Image]) -> None:
        self._sides = np.asarray(sides)
        self._how = how
        self.draws = 0 if len(sides) == 1 else 1

    def draw(self, uniforms: Floats, sizes: Sizes) -> tuple[list[tuple[int, int]], Sizes]:
        numbers = np.floor(uniforms[:, 0] * len(self._sides)).astype(int) if self.draws else np.zeros(len(sizes), int)
        sides = self._sides[numbers].tolist()
        heights, widths = sizes.T.tolist()
        scaled = list(map(shorter_side_to, heights, widths, sides))
        return scaled, np.array(scaled, np.int64).reshape(-1, 2)

    def apply(self, pixels: Image, parameters: tuple[int, int], out: Image | None = None) -> Image:
        return self._how(pixels, *parameters)


class ColourJitter(Step):
    """Parameters: Colours."""

    draws = 8

    def __init__(self, settings: configured.ColourJitter) -> None:
        self._widths = np.array([settings.brightness, settings.contrast, settings.saturation, settings.hue])

    def draw(self, uniforms: Floats, sizes: Sizes) -> tuple[list[Colours], Sizes]:
        changes = [1, 1, 1, 0] + self._widths * (2 * uniforms[:, :4] - 1)
        orders = uniforms[:, 4:].argsort(1).tolist()
        return list(map(Colours, *changes.T.tolist(), map(tuple, orders))), sizes

    def apply(self, pixels: Image, parameters: Colours, out: Image | None = None) -> Image:
        return change_colours(pixels, parameters)


class PcaLighting(Step):
    """One colour for all pixels: the principal components, each times its eigenvalue and a draw from N(0, std).

    Krizhevsky et al. 2012 (AlexNet), section 4.1, with pixels on the [0, 1] scale. Parameters: grey levels a channel.
    """

    def __init__(self, settings: configured.PcaLighting, components: PrincipalComponents) -> None:
        self._std = settings.std
        self._directions = np.asarray(components.eigenvectors) * components.eigenvalues
        self.draws = 2 * len(components.eigenvalues)

    def draw(self, uniforms: Floats, sizes: Sizes) -> tuple[list[list[int]], Sizes]:
        radius, turn = np.split(uniforms, 2, axis=1)
        normal = np.sqrt(-2 * np.log1p(-radius)) * np.cos(2 * np.pi * turn)  # Box and Muller 1958
        return np.rint(255 * self._std * normal @ self._directions.T).astype(int).tolist(), sizes

    def apply(self, pixels: Image, parameters: list[int], out: Image | None = None) -> Image:
        return shift_colours(pixels, parameters, out)

    def changes(self, parameters: list[int]) -> bool:
        return any(parameters)


class TenCrop(Step):
    """No parameters; makes ten views of an image."""

    views = 10

    def __init__(self, settings: configured.TenCrop) -> None:
        self._size = settings.size

    def draw(self, uniforms: Floats, sizes: Sizes) -> tuple[list[Any], Sizes]:
        _check_fits(sizes, self._size)
        return [None] * len(sizes), _all_of(self._size, len(sizes))

    def apply(self, pixels: Image, parameters: None, out: Image | None = None) -> Image:
        return ten_crop(pixels, self._size, out)
