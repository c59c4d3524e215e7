import shutil

import pyarrow.parquet as pq
import pytest

from pipelines.config import InputError, PreprocessSettings
from pipelines.dataset import columns
from pipelines.dataset.storage import Location
from pipelines.preprocess.make_dataset import make_dataset
from pipelines.preprocess.sources.stored import list_stored
from tests.conftest import DIGITS
from tests.pipelines.preprocess.sources.builders import contents


def rows(root, manifest, split):
    return pq.read_table(root / manifest.version / split, columns=[columns.KEY, columns.IMAGE, columns.VARIANT])


@pytest.mark.parametrize("split", ["train", "val"])
def test_every_image_of_a_split_is_read_as_it_is_stored(digits, split):
    found = list_stored(Location.at(digits.root), digits.manifest, split)
    stored = {row["key"]: row["image"] for row in rows(digits.root, digits.manifest, split).to_pylist()}
    assert {key: made.encoded for key, made in contents(found).items()} == stored


def test_augmented_variants_are_left_out(spark, tmp_path):
    augment = {"variants": 1, "steps": [{"kind": "random_flip"}]}
    tree = DIGITS | {"augment": augment, "output": {"path": str(tmp_path), "rows_per_group": 100}}
    manifest = make_dataset(spark, PreprocessSettings.model_validate(tree))
    found = list_stored(Location.at(tmp_path), manifest, "train")
    stored = rows(tmp_path, manifest, "train").to_pylist()
    assert len(stored) == 2 * len(found.items)
    themselves = {row["key"]: row["image"] for row in stored if row["variant"] == 0}
    assert {key: made.encoded for key, made in contents(found).items()} == themselves


def test_a_row_group_that_was_altered_is_named(digits, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(digits.root, root)
    path = root / digits.manifest.version / "val" / "part-00000.parquet"
    content = bytearray(path.read_bytes())
    first = rows(digits.root, digits.manifest, "val")[columns.IMAGE][0].as_py()
    content[content.index(first) + len(first) // 2] ^= 1
    path.write_bytes(content)
    found = list_stored(Location.at(root), digits.manifest, "val")
    with pytest.raises(InputError, match=r"part-00000.parquet, row group 0: altered since it was written"):
        contents(found)
