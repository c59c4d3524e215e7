import io

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from pipelines.config import SourceSettings
from pipelines.preprocess.sources import list_source
from tests.pipelines.preprocess.sources.builders import contents


def test_digits_are_the_1797_that_scikit_learn_carries():
    found = list_source(SourceSettings(kind="digits"))
    made = contents(found)
    digits = load_digits()
    assert [*made] == [f"digits/{number:04d}" for number in range(1797)]
    assert [image.label for image in made.values()] == digits.target.tolist()
    assert {image.split for image in made.values()} == {None}
    assert [entry.words for entry in found.classes] == list("0123456789")
    pixels = np.asarray(Image.open(io.BytesIO(made["digits/0077"].encoded)))
    np.testing.assert_allclose(pixels, digits.images[77] * 255 / 16, atol=0.5)
