"""The ways to make the same dataset that Strata is compared with. An image function is `file -> bytes stored`."""

import io
import os
import time
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from petastorm.etl.dataset_metadata import materialize_dataset
from petastorm.unischema import Unischema, dict_to_spark_row
from PIL import Image as Pillow
from pyspark.sql import Row, SparkSession

from benchmarks.job import IMAGE
from pipelines.dataset import columns
from pipelines.dataset.unischema import unischema
from pipelines.images.transforms import resize, shorter_side_to
from pipelines.preprocess.image import Reject, process, read_image, target_size


def bare(file: str) -> int:
    """Our own function without Spark: the limit."""
    stored = process(Path(file).read_bytes(), IMAGE)
    return 0 if isinstance(stored, Reject) else len(stored.encoded)


def pillow(file: str) -> int:
    """Pillow's plain way: all pixels decoded, then averaged over boxes."""
    return _by_pillow(file, scaled=False)


def pillow_scaled(file: str) -> int:
    """Pillow's fast way: libjpeg decodes to the smallest scale that covers the target, `draft`."""
    return _by_pillow(file, scaled=True)


def _by_pillow(file: str, scaled: bool) -> int:
    with Pillow.open(file) as image:
        height, width = shorter_side_to(image.height, image.width, IMAGE.size)
        if scaled:
            image.draft("RGB", (width, height))
        resized = image.convert("RGB").resize((width, height), Pillow.Resampling.BOX)
    encoded = io.BytesIO()
    resized.save(encoded, "JPEG", quality=IMAGE.quality)
    return len(encoded.getvalue())


def img2dataset(file: str) -> int:
    """img2dataset's resizer with its own interpolation. It calls it in the main thread of its processes."""
    encoded, *_ = _resizer()(io.BytesIO(Path(file).read_bytes()))
    return len(encoded or b"")


@cache
def _resizer() -> Any:
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it would ask PyPI for its newest version
    resizer = import_module("img2dataset.resizer").Resizer
    return resizer(IMAGE.size, "keep_ratio", resize_only_if_bigger=False, encode_quality=IMAGE.quality)


def petastorm_job(
    spark: SparkSession, files: list[str], folder: Path, partitions: int, codec: Literal["jpeg", "png"]
) -> tuple[float, float]:
    """Petastorm's documented way, its encoder in an RDD's map; seconds of all and, of these, without its metadata.

    https://petastorm.readthedocs.io/en/latest/readme_include.html, "Generating a dataset". Its examples, the one for
    ImageNet among them, store PNG.
    """
    schema = unischema(IMAGE.model_copy(update={"format": codec}))
    start = time.perf_counter()
    with materialize_dataset(spark, folder.as_uri(), schema):
        rows = spark.sparkContext.parallelize(files, partitions).map(partial(_petastorm_row, schema))
        spark.createDataFrame(rows, schema.as_spark_schema()).write.parquet(folder.as_uri())
        written = time.perf_counter()
    return time.perf_counter() - start, written - start


def _petastorm_row(schema: Unischema, file: str) -> Row:
    """The same decoding and resizing as ours; the encoding is Petastorm's."""
    decoded = read_image(Path(file).read_bytes(), IMAGE)
    height, width = target_size(decoded.height, decoded.width, IMAGE)
    values = {
        columns.KEY: file,
        columns.IMAGE: resize(decoded.pixels, height, width),
        columns.LABEL: 0,
        columns.HEIGHT: height,
        columns.WIDTH: width,
        columns.VARIANT: 0,
    }
    row: Row = dict_to_spark_row(schema, values)
    return row
