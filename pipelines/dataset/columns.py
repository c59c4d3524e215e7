"""Names and Parquet types of the columns of a dataset, of its rejects and of predictions."""

import pyarrow as pa

KEY = "key"
IMAGE = "image"
LABEL = "label"
HEIGHT = "height"
WIDTH = "width"
VARIANT = "variant"

LOADED = [KEY, IMAGE, LABEL, HEIGHT, WIDTH]
"""What the loader reads."""

IMAGES = pa.schema(
    [
        pa.field(KEY, pa.string(), nullable=False),
        pa.field(IMAGE, pa.binary(), nullable=False),
        pa.field(LABEL, pa.int32(), nullable=False),
        pa.field(HEIGHT, pa.int32(), nullable=False),
        pa.field(WIDTH, pa.int32(), nullable=False),
        pa.field(VARIANT, pa.int32(), nullable=False),
    ]
)
"""A row is one encoded image; `variant` tells which offline augmentation it is, 0 the image itself."""

REJECTS = pa.schema([(name, pa.string()) for name in ("key", "uri", "reason", "detail")])
"""A row is one image that could not be used, and why."""

PREDICTIONS = pa.schema(
    [
        pa.field("run", pa.string(), nullable=False),
        pa.field(KEY, pa.string(), nullable=False),
        pa.field(LABEL, pa.int32(), nullable=False),
        pa.field("label_rank", pa.int32(), nullable=False),
        pa.field("probabilities", pa.list_(pa.float32()), nullable=False),
        pa.field("protocol", pa.string(), nullable=False),
        pa.field("dataset_digest", pa.string(), nullable=False),
        pa.field("classes_digest", pa.string(), nullable=False),
    ]
)
"""A row is what one run says of one validation image, shown by one protocol: a probability a class.

`label_rank`: other classes that scored at least as high as the label, before the probabilities were rounded.
"""

_SCORE = [
    pa.field(LABEL, pa.int32(), nullable=False),
    pa.field("class_name", pa.string(), nullable=False),
    pa.field("probability", pa.float32(), nullable=False),
]
SCORES = pa.schema(
    [
        pa.field(KEY, pa.string(), nullable=False),
        *_SCORE,
        pa.field("top", pa.list_(pa.struct(_SCORE)), nullable=False),
    ]
)
"""A row is what a model says of one new image: the most probable class, and a list of those that come first.

`label` is a class's number in the model's class table.
"""
