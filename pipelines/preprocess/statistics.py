"""Mean, standard deviation and principal components of pixels, from exact sums over the training images."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.dataset.manifest import Statistics
from pipelines.preprocess.write import FileRecord


def statistics(records: Sequence[FileRecord]) -> Statistics:
    """Of all pixels that the records count, on the [0, 1] scale.

    The sums are whole numbers, so the result does not depend on how the images were spread over files.
    The components are what AlexNet's PCA lighting needs (Krizhevsky et al. 2012, section 4.1).
    """
    filled = [record for record in records if record.pixels]
    pixels = sum(record.pixels for record in filled)
    total = sum(np.array(record.pixel_sum, dtype=object) for record in filled) / pixels
    products = sum(np.array(record.product_sum, dtype=object) for record in filled) / pixels
    mean = np.asarray(total, np.float64) / 255
    covariance = np.asarray(products, np.float64) / 255**2 - np.outer(mean, mean)
    eigenvalues, eigenvectors = np.linalg.eigh(covariance)
    largest_first = np.argsort(eigenvalues)[::-1]
    # The sign of an eigenvector is arbitrary; fixing it keeps manifests equal across linear algebra libraries.
    eigenvectors = eigenvectors[:, largest_first]
    eigenvectors = eigenvectors * np.where(eigenvectors[0] < 0, -1, 1)
    return Statistics(
        mean=_rounded(mean),
        std=_rounded(np.sqrt(np.maximum(np.diag(covariance), 0))),
        eigenvalues=_rounded(np.maximum(eigenvalues[largest_first], 0)),
        eigenvectors=tuple(_rounded(row) for row in eigenvectors),
    )


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round(float(value), 9) for value in values)
