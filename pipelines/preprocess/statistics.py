"""What the records of all files say together: mean, covariance, principal components, counts, histograms."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.dataset.manifest import HISTOGRAM_EDGES, Histogram, Manifest, Split, Statistics
from pipelines.preprocess.records import FileRecord


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
        covariance=tuple(_rounded(row) for row in covariance),
        eigenvalues=_rounded(np.maximum(eigenvalues[largest_first], 0)),
        eigenvectors=tuple(_rounded(row) for row in eigenvectors),
    )


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round(float(value), 9) for value in values)


def histograms(records: Sequence[FileRecord]) -> dict[str, Histogram]:
    """Of all images that the records count."""
    return {
        name: Histogram(
            edges=edges,
            counts=tuple(
                sum(record.histograms[name][place] for record in records if record.histograms)
                for place in range(len(edges) + 1)
            ),
        )
        for name, edges in HISTOGRAM_EDGES.items()
    }


def split_of(records: Sequence[FileRecord], classes: int) -> Split:
    """The files of one split and its rows by class."""
    counts = Counter[int]()
    for record in records:
        counts.update(record.class_counts)
    return Split(
        files=tuple(record.parquet_file() for record in records if record.row_groups),
        class_counts=tuple(counts[label] for label in range(classes)),
    )


def as_text(manifest: Manifest) -> str:
    """A dataset's figures as tables for people."""
    lines = [f"{'split':<8}{'rows':>12}{'files':>8}{'GB':>8}{'classes':>9}{'smallest':>10}{'largest':>9}"]
    for name, split in manifest.splits.items():
        counts = [count for count in split.class_counts if count] or [0]
        size = sum(file.size_bytes for file in split.files) / 1e9
        lines.append(
            f"{name:<8}{split.rows:>12,}{len(split.files):>8,}{size:>8.2f}{len(counts) if split.rows else 0:>9,}"
            f"{min(counts):>10,}{max(counts):>9,}"
        )
    found = manifest.statistics
    lines += ["", f"{'channel':<8}{'mean':>10}{'std':>10}{'   eigenvalue':<16}eigenvector"]
    for place, channel in enumerate(("red", "green", "blue") if manifest.channels == 3 else ("grey",)):
        vector = "  ".join(f"{row[place]:8.4f}" for row in found.eigenvectors)
        mean, std, eigenvalue = found.mean[place], found.std[place], found.eigenvalues[place]
        lines.append(f"{channel:<8}{mean:>10.4f}{std:>10.4f}   {eigenvalue:<13.6f}{vector}")
    lines += [""] + [f"rejected as {reason}: {count:,}" for reason, count in manifest.rejects.items()]
    return "\n".join(lines if manifest.rejects else [*lines, "no rejects"])
