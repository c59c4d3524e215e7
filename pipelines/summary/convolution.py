"""The page docs/convolution.md and its picture: a 2-D convolution worked by hand, and Sobel's on a photograph.

    python -m pipelines.summary.convolution     writes both anew

Tests hold the page to what this module writes, and its arithmetic to scipy.signal.convolve2d.
"""

from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

SOBEL_X: Matrix = np.array([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
"""Convolved with an image, large where it grows brighter from left to right."""
SOBEL_Y: Matrix = SOBEL_X.T
"""The same from top to bottom."""

IMAGE: Matrix = np.array([[10.0, 10, 10, 90, 90], [10, 10, 10, 90, 90], [10, 10, 10, 90, 90], [10, 10, 90, 90, 90]])
"""A dark field with a bright one to its right, small enough to work by hand."""


def convolve(image: Matrix, kernel: Matrix, mode: Literal["full", "valid"] = "full") -> Matrix:
    """(f * g)[y, x] = sum over i, j of f[i, j] g[y - i, x - j], as it is defined; everything outside is 0.

    full: wherever image and kernel touch. valid: only where the kernel lies inside the image.
    """
    (rows, columns), (height, width) = image.shape, kernel.shape
    result = np.zeros((rows + height - 1, columns + width - 1))
    for y, x in np.ndindex(*result.shape):
        for i in range(max(0, y - height + 1), min(rows, y + 1)):
            for j in range(max(0, x - width + 1), min(columns, x + 1)):
                result[y, x] += image[i, j] * kernel[y - i, x - j]
    return result if mode == "full" else result[height - 1 : rows, width - 1 : columns]


def convolve_by_windows(image: Matrix, kernel: Matrix) -> Matrix:
    """The same, valid: flip the kernel in both directions, lay it on every window, multiply, add up."""
    windows = np.lib.stride_tricks.sliding_window_view(image, kernel.shape)
    flipped = kernel[::-1, ::-1]
    result: Matrix = np.einsum("yxij,ij->yx", windows, flipped)
    return result


def worked(image: Matrix, kernel: Matrix, row: int, column: int) -> str:
    """One value of the valid convolution, term by term, in Markdown."""
    height, width = kernel.shape
    window, flipped = image[row : row + height, column : column + width], kernel[::-1, ::-1]
    lines = [
        " + ".join(f"{pixel:g}*({weight:g})" for pixel, weight in zip(pixels, weights, strict=True))
        for pixels, weights in zip(window, flipped, strict=True)
    ]
    return "\n    + ".join(lines) + f"\n    = {np.sum(window * flipped):g}"


def photograph() -> Matrix:
    """scikit-learn's picture of a pavilion in grey, at a half of its size: (213, 320), 0 to 255."""
    from sklearn.datasets import load_sample_image

    grey = load_sample_image("china.jpg") @ np.array([0.299, 0.587, 0.114])
    halves = grey[:426, :640].reshape(213, 2, 320, 2)
    averaged: Matrix = halves.mean((1, 3))
    return averaged


def draw(image: Matrix) -> Figure:
    """The photograph, what Sobel's two kernels find in it, and how steep its edges are."""
    across, down = convolve_by_windows(image, SOBEL_X), convolve_by_windows(image, SOBEL_Y)
    figure = Figure(figsize=(7.2, 5.2), layout="constrained")
    shown = (
        ("image f", image, (0, 255)),
        ("f * Sobel x: vertical edges", across, (-400, 400)),
        ("f * Sobel y: horizontal edges", down, (-400, 400)),
        ("steepness: the root of both squares' sum", np.hypot(across, down), (0, 500)),
    )
    for axes, (title, pixels, (low, high)) in zip(figure.subplots(2, 2).flat, shown, strict=True):
        axes.imshow(pixels, cmap="gray", vmin=low, vmax=high)
        axes.set_title(title, fontsize=10)
        axes.set_axis_off()
    return figure


def page() -> str:
    """The whole of docs/convolution.md."""
    full, valid = convolve(IMAGE, SOBEL_X), convolve(IMAGE, SOBEL_X, "valid")
    (rows, columns), (height, width) = IMAGE.shape, SOBEL_X.shape
    return f"""# A convolution, worked

<!-- Written by `python -m pipelines.summary.convolution`; the tests compare. Change it there. -->

An image f of {rows} x {columns} pixels and a kernel g of {height} x {width}, Sobel's for vertical edges:

{_matrix("f", IMAGE)}

{_matrix("g", SOBEL_X)}

Their discrete convolution is

    (f * g)[y, x] = sum over i and j of f[i, j] g[y - i, x - j]

with everything outside f and g being 0. The pixel's indices rise while the kernel's fall: **the kernel is flipped**,
in both directions. Written as what lies under a window of f, the kernel's last weight meets the window's first pixel:

{_matrix("g flipped", SOBEL_X[::-1, ::-1])}

## One value

With the flipped kernel's first weight on f[0, 1]:

    {worked(IMAGE, SOBEL_X, 0, 1)}

The window is dark on its left and bright on its right, so the value is large and positive: an edge.

## All values

Where the kernel lies inside the image ("valid") it has N - F + 1 places along each side, here
{rows} - {height} + 1 = {rows - height + 1} and {columns} - {width} + 1 = {columns - width + 1}:

{_matrix("f * g, valid", valid)}

Wherever the two touch ("full", which is padding with P = F - 1 zeros) there are N + F - 1, here
{full.shape[0]} x {full.shape[1]}:

{_matrix("f * g, full", full)}

With a stride of S only every S-th place is taken, and a padding of P adds 2P pixels: (N - F + 2P)/S + 1 places.
`python jobs/summarize.py` says for each layer of a network what it does where that division leaves a rest.

## What a convolutional network does

`torch.nn.Conv2d` leaves the flip out. It computes sum over i and j of f[y + i, x + j] g[i, j], a cross-correlation:

{_matrix("torch.nn.functional.conv2d(f, g)", convolve_by_windows(IMAGE, SOBEL_X[::-1, ::-1]))}

Sobel's kernel changes sign when it is flipped, so the same edges come out with the other sign. For a network it
is all one: its kernels are learned, and it learns the flipped one. A filter of a network also has a depth: it adds up
one such sum for each input channel, and a bias.

## On a photograph

![The photograph, Sobel's horizontal and vertical derivative, and their steepness](convolution.jpg)

The pillars answer to Sobel x and the eaves to Sobel y, its transpose. Grey is 0; white is where it grows brighter to
the right or downwards, black where darker. The photograph is scikit-learn's `china.jpg` by danielbuechele, CC BY 2.0,
here in grey and at half its size.
"""


def _matrix(name: str, values: Matrix) -> str:
    width = max(len(f"{value:g}") for value in values.flat)
    rows = ("    " + "  ".join(f"{value + 0:{width}g}" for value in row) for row in values)
    return f"{name}:\n\n" + "\n".join(rows)


def write(folder: Path) -> None:
    """convolution.md and convolution.jpg."""
    (folder / "convolution.md").write_text(page())
    draw(photograph()).savefig(folder / "convolution.jpg", dpi=100, pil_kwargs={"quality": 85, "optimize": True})


if __name__ == "__main__":
    write(Path("docs"))
