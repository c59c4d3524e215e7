"""The dataset as Petastorm declares it, so that plain `petastorm.make_reader` decodes it."""

import numpy as np
from petastorm.codecs import CompressedImageCodec, ScalarCodec
from petastorm.unischema import Unischema, UnischemaField
from pyspark.sql.types import IntegerType, StringType

from pipelines.config import ImageSettings
from pipelines.dataset import columns


def unischema(image: ImageSettings) -> Unischema:
    """Images are uint8, (height, width) where greyscale and (height, width, 3) RGB otherwise."""
    shape = (None, None) if image.channels == 1 else (None, None, 3)
    codec = CompressedImageCodec(image.format, image.quality)
    integers = [columns.LABEL, columns.HEIGHT, columns.WIDTH, columns.VARIANT]
    return Unischema(
        "StrataImages",
        [
            UnischemaField(columns.KEY, np.str_, (), ScalarCodec(StringType()), False),
            UnischemaField(columns.IMAGE, np.uint8, shape, codec, False),
            *(UnischemaField(name, np.int32, (), ScalarCodec(IntegerType()), False) for name in integers),
        ],
    )
