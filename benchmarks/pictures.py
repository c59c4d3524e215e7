"""A dataset of pictures that nobody took, for measurements that need files and do not care what they show.

python -m benchmarks.pictures FOLDER IMAGES SIDE    # a dataset in FOLDER/dataset, made by our own job
"""

import os
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from benchmarks.job import replicate, run_job, start_session
from benchmarks.loading_setup import once, output_of
from pipelines.config import ImageSettings, OutputSettings, PreprocessSettings, SourceSettings

_DISTINCT = 1024
_QUALITY = 90


def dataset_of_pictures(images: int, side: int, cache: Path) -> Path:
    """So many square JPEG of that side in pixels, one in 16 for validation; made if not there yet.

    Another process makes it, since that then holds Spark. Raises FailedError.
    """
    place = cache.absolute() / f"pictures-{images}-{side}"
    return (
        once(place, lambda part: output_of(sys.executable, "-m", "benchmarks.pictures", part, images, side)) / "dataset"
    )


def picture(side: int, draws: np.random.Generator) -> NDArray[np.uint8]:
    """uint8 (side, side, 3): noise of all scales, the coarser the stronger, as in photographs."""
    pixels, cells, strength = np.zeros((side, side, 3), np.float32), 2, 64.0
    while cells < side:
        noise = draws.normal(scale=strength, size=(cells, cells, 3)).astype(np.float32)
        pixels += cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)
        cells, strength = cells * 2, strength / 1.6
    return np.clip(pixels + 128, 0, 255).astype(np.uint8)


def write_pictures(folder: Path, images: int, side: int) -> None:
    """JPEG files."""
    draws = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for number in range(images):
        (folder / f"{number:06d}.jpg").write_bytes(simplejpeg.encode_jpeg(picture(side, draws), _QUALITY))


def main(folder: Path, images: int, side: int) -> None:
    write_pictures(folder / "distinct", min(images, _DISTINCT), side)
    replicate(folder / "distinct", images, folder / "source")
    settings = PreprocessSettings(
        source=SourceSettings(kind="imagefolder", path=str(folder / "source")),
        image=ImageSettings(resize="shorter_side", size=side, quality=_QUALITY),
        output=OutputSettings(path=str(folder / "dataset"), rows_per_group=64),
        val_fraction=1 / 16,
    )
    spark = start_session(len(os.sched_getaffinity(0)))
    run_job(spark, settings)
    spark.stop()
    for part in ("distinct", "source"):
        shutil.rmtree(folder / part)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
