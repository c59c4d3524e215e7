"""Pictures of a dataset, drawn from its files and manifest: samples, variants, histograms, rejects."""

import io
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from matplotlib.figure import Figure
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from pipelines.dataset import columns
from pipelines.dataset.manifest import Manifest, ParquetFile
from pipelines.dataset.storage import Location
from pipelines.images.codec import Image, decode
from pipelines.images.transforms import resize

THUMBNAIL = 96
"""Pixels a side."""

_BLANK = np.full((THUMBNAIL, THUMBNAIL, 3), 255, np.uint8)

_FEW_CLASSES, _SAMPLES_OF_EACH = 40, 8
_MOST_CLASSES, _ACROSS = 1000, 25
_MOST_ROW_GROUPS = 64
"""Read for samples; 16,000 images of the default row groups hold all of a thousand classes."""


def draw_report(manifest: Manifest, folder: Location, rejects: Sequence[Mapping[str, str]]) -> None:
    """`samples.png`, `histograms.png` and, where there is something to show, `variants.png` and `rejects.png`.

    folder: the version's; the pictures go to `report/` in it.
    """
    pictures = {"samples.png": _samples(manifest, folder), "histograms.png": _histograms(manifest)}
    if len(manifest.variants) > 1:
        pictures["variants.png"] = _variants(manifest, folder)
    if rejects:
        pictures["rejects.png"] = _rejects(rejects)
    for name, content in pictures.items():
        (folder / "report" / name).write_bytes(content)


# --- pictures made of thumbnails ------------------------------------------------------------------


def _samples(manifest: Manifest, folder: Location) -> bytes:
    """Of few classes a row each, of many a thumbnail each."""
    classes = [entry for entry in manifest.classes if manifest.splits["train"].class_counts[entry.index]][
        :_MOST_CLASSES
    ]
    few = len(classes) <= _FEW_CLASSES
    wanted = {entry.index: _SAMPLES_OF_EACH if few else 1 for entry in classes}
    found: dict[int, list[Image]] = defaultdict(list)
    for row in _rows(folder, manifest.splits["train"].files):
        if not row[columns.VARIANT] and len(found[row[columns.LABEL]]) < wanted.get(row[columns.LABEL], 0):
            found[row[columns.LABEL]].append(_thumbnail(row, manifest.channels))
        if all(len(found[index]) == count for index, count in wanted.items()):
            break
    across = _SAMPLES_OF_EACH if few else _ACROSS
    cells = [
        (entry.words if place == 0 else "", image)
        for entry in classes
        for place, image in enumerate(_filled(found[entry.index], wanted[entry.index]))
    ]
    return _sheet(cells, across)


def _filled(images: list[Image], count: int) -> list[Image]:
    return images + [_BLANK] * (count - len(images))


def _variants(manifest: Manifest, folder: Location) -> bytes:
    """A row an image: what each variant made of it. The first file of each kind holds the same first images."""
    files = manifest.splits["train"].files
    apart = [file for file in files if "variants" in file.path][:1]
    images: dict[str, dict[int, Image]] = {}
    for row in _rows(folder, [*apart, files[0]]):
        if len(images) < _SAMPLES_OF_EACH:
            images.setdefault(row[columns.KEY], {})
        if row[columns.KEY] in images:
            images[row[columns.KEY]][row[columns.VARIANT]] = _thumbnail(row, manifest.channels)
    numbers = range(len(manifest.variants))
    cells = [
        (manifest.variants[number].partition(":")[0], of.get(number, _BLANK))
        for of in images.values()
        for number in numbers
    ]
    return _sheet(cells, len(numbers))


def _rows(folder: Location, files: Sequence[ParquetFile]) -> Iterator[dict[str, Any]]:
    read = 0
    for file in files:
        with (folder / file.path).open() as opened:
            parquet = pq.ParquetFile(opened)
            for group in range(parquet.num_row_groups):
                if read == _MOST_ROW_GROUPS:
                    return
                read += 1
                yield from parquet.read_row_group(
                    group, [columns.KEY, columns.IMAGE, columns.LABEL, columns.VARIANT]
                ).to_pylist()


def _thumbnail(row: Mapping[str, Any], channels: int) -> Image:
    """The middle square."""
    pixels = decode(row[columns.IMAGE], channels)
    height, width, _ = pixels.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    small = resize(pixels[top : top + side, left : left + side], THUMBNAIL, THUMBNAIL)
    return np.repeat(small, 3, axis=2) if channels == 1 else small


def _sheet(cells: Sequence[tuple[str, Image]], across: int) -> bytes:
    """PNG: thumbnails in rows, each above its caption."""
    gap, line = 6, 14
    step = (THUMBNAIL + gap, THUMBNAIL + gap + line)
    size = (across * step[0] + gap, -(-len(cells) // across) * step[1] + gap)
    sheet = Pillow.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for place, (caption, image) in enumerate(cells):
        left, top = place % across * step[0] + gap, place // across * step[1] + gap
        sheet.paste(Pillow.fromarray(image), (left, top))
        draw.text((left, top + THUMBNAIL), caption[:16], "black", font)
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()


# --- pictures made of numbers -----------------------------------------------------------------------


def _histograms(manifest: Manifest) -> bytes:
    figure = Figure((12, 7), layout="constrained")
    places = figure.subplots(2, 2).flat
    for axes, (name, histogram) in zip(places, manifest.histograms.items(), strict=False):
        edges = [f"{edge:,}" for edge in histogram.edges]
        labels = [f"< {edges[0]}", *(f"{edge} +" for edge in edges)]
        axes.bar(labels, histogram.counts)
        axes.tick_params("x", rotation=60, labelsize=7)
        axes.set_title(f"{name}, images from each edge up to the next", fontsize=10)
    axes = figure.axes[3]
    for split, content in manifest.splits.items():
        axes.plot(sorted(content.class_counts, reverse=True), label=f"{split}: {content.rows:,} rows")
    axes.set_title("rows of each class, largest first", fontsize=10)
    axes.set_ylim(bottom=0)
    axes.legend()
    return _png(figure)


def _rejects(rejects: Sequence[Mapping[str, str]]) -> bytes:
    """How many for each reason, and the first of each in words."""
    by_reason: dict[str, list[Mapping[str, str]]] = defaultdict(list)
    for reject in rejects:
        by_reason[reject["reason"]].append(reject)
    reasons = sorted(by_reason, key=lambda reason: len(by_reason[reason]))
    figure = Figure((12, 1.5 + 0.6 * len(reasons)), layout="constrained")
    axes = figure.subplots()
    axes.barh(reasons, [len(by_reason[reason]) for reason in reasons], color="lightgrey")
    for place, reason in enumerate(reasons):
        first = by_reason[reason][0]
        text = f" {len(by_reason[reason]):,}   {first['key']}: {first['detail']}"[:140]
        axes.text(0, place, text, va="center", fontsize=8, parse_math=False)  # a name may have dollars
    axes.set_title(f"{len(rejects):,} rejects, with the first of each reason")
    return _png(figure)


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return file.getvalue()
