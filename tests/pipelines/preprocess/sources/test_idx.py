import gzip
import io
import struct
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from pipelines.config import InputError, SourceSettings
from pipelines.preprocess.sources import list_source
from tests.pipelines.preprocess.sources.builders import IMAGES, LABELS, contents, write_idx


def listing(folder, **settings):
    return list_source(SourceSettings(kind="idx", path=str(folder), **settings))


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_gives_every_image_with_its_label_and_split(tmp_path, suffix):
    write_idx(tmp_path, "train", suffix=suffix)
    write_idx(tmp_path, "t10k", IMAGES[:2], LABELS[:2], suffix)
    made = contents(listing(tmp_path))
    assert [*made] == [f"train/{number:05d}" for number in range(5)] + ["val/00000", "val/00001"]
    assert [image.label for image in made.values()] == [0, 1, 2, 1, 0, 0, 1]
    assert [image.split for image in made.values()] == ["train"] * 5 + ["val"] * 2
    for image, expected in zip(made.values(), [*IMAGES, *IMAGES[:2]], strict=True):
        assert (np.asarray(Image.open(io.BytesIO(image.encoded))) == expected).all()


def test_idx_without_a_test_part_leaves_the_split_to_the_hash(tmp_path):
    write_idx(tmp_path)
    assert listing(tmp_path).items.column("split").null_count == 5


def test_class_names_are_taken_from_the_settings(tmp_path):
    write_idx(tmp_path)
    found = listing(tmp_path, class_names=("coat", "bag", "shirt"))
    assert [(entry.index, entry.words) for entry in found.classes] == [(0, "coat"), (1, "bag"), (2, "shirt")]


def test_the_fingerprint_changes_with_the_images(tmp_path):
    write_idx(tmp_path)
    before = listing(tmp_path).fingerprint
    write_idx(tmp_path, images=255 - IMAGES)
    assert listing(tmp_path).fingerprint != before


def _damage(name, change):
    def damage(folder):
        path = folder / name
        path.write_bytes(change(path.read_bytes()))

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "train-labels-idx1-ubyte").unlink(), "neither train-labels-idx1-ubyte nor"),
        (_damage("train-images-idx3-ubyte", lambda b: b[:-1]), "135 bytes, but its header .* asks for 136"),
        (_damage("train-images-idx3-ubyte", lambda b: b[:3]), "too few for an IDX header"),
        (_damage("train-images-idx3-ubyte", lambda b: b"x" + b[1:]), "magic number .* expected 2051"),
        (lambda folder: write_idx(folder, labels=LABELS[:3]), "3 labels for the 5 images"),
        (lambda folder: write_idx(folder, images=IMAGES[:0], labels=LABELS[:0]), "no images"),
    ],
)
def test_a_wrong_idx_file_is_named_with_what_is_wrong(tmp_path, damage, message):
    write_idx(tmp_path)
    damage(tmp_path)
    with pytest.raises(InputError, match=message):
        listing(tmp_path)


def test_a_broken_gzip_file_is_named(tmp_path):
    write_idx(tmp_path, suffix=".gz")
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"train-images-idx3-ubyte\.gz: not readable"):
        listing(tmp_path)


def test_too_few_class_names_are_refused(tmp_path):
    write_idx(tmp_path)
    with pytest.raises(InputError, match=r"2 names for labels from 0 to 2$"):
        listing(tmp_path, class_names=("a", "b"))


def test_a_folder_without_idx_files_is_named(tmp_path):
    with pytest.raises(InputError, match=f"{tmp_path}: neither train-images-idx3-ubyte nor"):
        listing(tmp_path)


@pytest.mark.attack
@pytest.mark.parametrize("images", [5, 1 << 31, 1 << 20])
def test_a_gzip_bomb_costs_no_memory_and_is_named(tmp_path, images):
    """Behind a header of few images, of more than there can be, of many that are not there."""
    write_idx(tmp_path, suffix=".gz")
    zeros = gzip.compress(bytes(16 << 20))
    bomb = gzip.compress(struct.pack(">4I", 2051, images, 2, 2)) + 40 * zeros
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(bomb)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"train-images-idx3-ubyte\.gz: \d+ bytes, but its header|labels for the"):
            listing(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()
