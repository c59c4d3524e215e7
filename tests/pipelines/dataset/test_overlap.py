import numpy as np
import pytest

from pipelines.config import InputError
from pipelines.dataset.lookup import split_keys, stored_images
from pipelines.dataset.overlap import check_same_classes, check_unseen


def test_keys_and_images_of_a_split_are_found_by_name(digits):
    keys = split_keys(digits.root, digits.manifest, "val")
    assert len(keys) == digits.manifest.splits["val"].rows
    assert not keys & split_keys(digits.root, digits.manifest, "train")
    some = set(sorted(keys)[::90])
    assert split_keys(digits.root, digits.manifest, "val", some | {"nobody"}) == some
    images = stored_images(digits.root, digits.manifest, "val", some | {"nobody"})
    assert images.keys() == some
    assert {image.shape for image in images.values()} == {(32, 32, 1)}
    assert len({np.asarray(image).tobytes() for image in images.values()}) == len(some)


def test_images_that_a_network_was_trained_on_are_named(digits):
    unseen = split_keys(digits.root, digits.manifest, "val")
    check_unseen(unseen, digits.root, digits.manifest, "some run")
    seen = min(split_keys(digits.root, digits.manifest, "train"))
    with pytest.raises(InputError, match=rf"some run was trained on 1 of these 360 validation images, {seen} among"):
        check_unseen(unseen | {seen}, digits.root, digits.manifest, "some run")


def test_other_class_tables_are_refused_by_the_first_difference(digits):
    manifest = digits.manifest
    check_same_classes(manifest, manifest.model_copy(update={"digest": "another"}), "some run")
    turned = tuple(
        entry.model_copy(update={"words": "a pair" if entry.index == 2 else entry.words}) for entry in manifest.classes
    )
    with pytest.raises(InputError, match=r"another class table: class 2 is '2' there and 'a pair' in this dataset"):
        check_same_classes(manifest, manifest.model_copy(update={"classes": turned}), "some run")
    with pytest.raises(InputError, match="trained for 10 classes, this dataset has 9"):
        check_same_classes(manifest, manifest.model_copy(update={"classes": manifest.classes[:9]}), "some run")
    with pytest.raises(InputError, match="images of 1 channels, these have 3"):
        check_same_classes(manifest, manifest.model_copy(update={"channels": 3}), "some run")
    assert manifest.model_copy(update={"classes": turned}).classes_digest != manifest.classes_digest
