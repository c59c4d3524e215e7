import numpy as np
import pyarrow as pa

from pipelines.dataset import columns
from pipelines.scoring.files import scores_table

NAMES = pa.array(["cat", "dog", "owl", "cow"])


def test_classes_fall_by_probability_and_of_equal_ones_the_lower_label_comes_first():
    probabilities = np.array([[0.1, 0.4, 0.4, 0.1], [0.7, 0.1, 0.1, 0.1]], np.float32)
    table = scores_table(["first", "second"], probabilities, NAMES, top=3)
    assert table.schema == columns.SCORES
    first, second = table.to_pylist()
    assert (first["key"], first["label"], first["class_name"]) == ("first", 1, "dog")
    assert first["probability"] == np.float32(0.4)
    assert [one["class_name"] for one in first["top"]] == ["dog", "owl", "cat"]
    assert [one["label"] for one in second["top"]] == [0, 1, 2]


def test_a_class_is_named_by_its_label():
    probabilities = np.eye(4, dtype=np.float32)[[2, 0, 3, 1]]
    table = scores_table(list("abcd"), probabilities, NAMES, top=1)
    assert table.column("label").to_pylist() == [2, 0, 3, 1]
    assert table.column("class_name").to_pylist() == [NAMES[label].as_py() for label in (2, 0, 3, 1)]
