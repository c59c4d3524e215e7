import json

import pytest

from pipelines.config import InputError, SourceSettings
from pipelines.preprocess.sources import list_source
from tests.pipelines.preprocess.sources.builders import contents, encoded_image, tar_of, write_files, write_webdataset

JPEG = encoded_image("one")


def listing(folder, **settings):
    return list_source(SourceSettings(kind="webdataset", path=str(folder), **settings))


def write_shard(folder, members, name="0000.tar"):
    write_files(folder, {name: tar_of(members)})


def test_every_sample_comes_with_its_label(tmp_path):
    made = write_webdataset(tmp_path, {"shard-000000.tar": [0, 1, 2, 1], "shard-000001.tar": [2, 2]})
    found = listing(tmp_path)
    assert contents(found) == made
    assert [entry.words for entry in found.classes] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("train", "val"),
    [
        ("imagenet-train-000000.tar", "imagenet-val-000000.tar"),
        ("train/0000.tar", "validation/0000.tar"),
        ("Train0.tar", "VALID0.tar"),
        ("retrieval_training_0.tar", "retrieval_validation_0.tar"),
    ],
)
def test_names_of_tars_or_their_folders_tell_the_split(tmp_path, train, val):
    made = write_webdataset(tmp_path, {train: [0, 1]}, "train") | write_webdataset(tmp_path, {val: [1]}, "val")
    assert contents(listing(tmp_path)) == made


@pytest.mark.parametrize("name", ["train-0.tar", "retrieval-0.tar", "0.tar"])
def test_without_validation_tars_the_split_is_left_to_later(tmp_path, name):
    made = write_webdataset(tmp_path, {name: [0, 1]})
    assert contents(listing(tmp_path)) == made


def test_tars_of_an_unknown_split_beside_validation_are_refused(tmp_path):
    write_webdataset(tmp_path, {"train-0.tar": [0], "val-0.tar": [0], "more-0.tar": [0]})
    with pytest.raises(InputError, match=r"whether more-0\.tar is for training or validation is not in its name"):
        listing(tmp_path)


def test_validation_tars_alone_are_refused(tmp_path):
    write_webdataset(tmp_path, {"val-0.tar": [0]})
    with pytest.raises(InputError, match=r"val-0\.tar is for validation, but no file's name has `train` in it"):
        listing(tmp_path)


def test_a_test_set_is_left_out(tmp_path):
    made = write_webdataset(tmp_path, {"train-0.tar": [0]}, "train")
    made |= write_webdataset(tmp_path, {"val-0.tar": [0]}, "val")
    write_webdataset(tmp_path, {"test-0.tar": [0]})
    found = listing(tmp_path)
    assert contents(found) == made
    assert "1 file of a test set left out" in found.description


def test_class_names_come_from_the_settings_and_bound_the_labels(tmp_path):
    write_webdataset(tmp_path, {"0.tar": [0, 2, 1]})
    found = listing(tmp_path, class_names=("cat", "dog"))
    assert [entry.words for entry in found.classes] == ["cat", "dog"]
    assert found.items.column("label").to_pylist() == [0, 1]
    assert [reject.detail for reject in found.rejects] == ["0001: its label is 2, not from 0 to 1"]


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "png", "webp", "JPG"])
def test_images_of_each_suffix_are_found(tmp_path, suffix):
    write_shard(tmp_path, {f"a/1.{suffix}": JPEG, "a/1.cls": b" 7\n"})
    assert [(key, made.label, made.encoded) for key, made in contents(listing(tmp_path)).items()] == [
        ("0000/a/1", 7, JPEG)
    ]


@pytest.mark.parametrize("document", [{"label": 3}, {"cls": 3}, {"cls": 9, "label": 3}])
def test_json_has_the_label_under_label_or_cls(tmp_path, document):
    write_shard(tmp_path, {"1.json": json.dumps(document).encode(), "1.jpg": JPEG})
    assert [made.label for made in contents(listing(tmp_path)).values()] == [3]


def test_cls_goes_before_json(tmp_path):
    write_shard(tmp_path, {"1.json": b'{"label": 3}', "1.jpg": JPEG, "1.cls": b"4"})
    assert [made.label for made in contents(listing(tmp_path)).values()] == [4]


def test_a_name_goes_up_to_its_first_dot(tmp_path):
    write_shard(tmp_path, {"v1.0/1.seg.png": b"mask", "v1.0/1.jpg": JPEG, "v1.0/1.cls": b"4"})
    assert [(key, made.encoded) for key, made in contents(listing(tmp_path)).items()] == [("0000/v1.0/1", JPEG)]


@pytest.mark.parametrize(
    ("members", "detail"),
    [
        ({"1.jpg": JPEG}, "1: it has neither .cls nor .json"),
        ({"1.cls": b"0"}, "1: it has a label, but no image"),
        ({"1.jpg": JPEG, "1.cls": b"cat"}, "1: its .cls begins with b'cat'"),
        ({"1.jpg": JPEG, "1.cls": b""}, "1: its .cls begins with b''"),
        ({"1.jpg": JPEG, "1.cls": b"-1"}, "1: its label is -1, not from 0 to 1048575"),
        ({"1.jpg": JPEG, "1.cls": b"1048576"}, "1: its label is 1048576, not from 0 to 1048575"),
        ({"1.jpg": JPEG, "1.cls": b"1.5"}, "1: its .cls begins with b'1.5'"),
        ({"1.jpg": JPEG, "1.cls": b"true"}, "1: its .cls begins with b'true'"),
        ({"1.jpg": JPEG, "1.json": b"{"}, "1: its .json begins with b'{'"),
        ({"1.jpg": JPEG, "1.json": b"[" * 100_000}, f"1: its .json begins with {b'[' * 20!r}"),
        ({"1.jpg": JPEG, "1.json": b'{"label": true}'}, "1: its label is True, no whole number"),
        ({"1.jpg": JPEG, "1.json": b"[3]"}, "1: its label is None, no whole number"),
        ({"1.jpg": JPEG, "1.json": b'{"label": "3"}'}, "1: its label is '3', no whole number"),
        ({"1.jpg": JPEG, "1.cls": bytes(2 << 20)}, "1: its .cls has 2097152 bytes"),
    ],
)
def test_a_sample_without_usable_label_is_a_reject(tmp_path, members, detail):
    write_shard(tmp_path, members | {"good.jpg": JPEG, "good.cls": b"0"})
    found = listing(tmp_path)
    assert found.items.column("key").to_pylist() == ["0000/good"]
    assert [(reject.key, reject.uri, reject.reason, reject.detail) for reject in found.rejects] == [
        ("0000/1", str(tmp_path / "0000.tar"), "no_label", detail)
    ]


def test_other_files_are_counted_and_unsafe_ones_rejects(tmp_path):
    members = {"1.jpg": JPEG, "1.cls": b"0", "README.md": b"x", "._1.jpg": b"x", "/2.jpg": b"x"}
    write_shard(tmp_path, members)
    found = listing(tmp_path)
    assert found.items.column("key").to_pylist() == ["0000/1"]
    assert [(reject.key, reject.reason) for reject in found.rejects] == [("0000.tar//2.jpg", "unsafe_path")]
    assert "1 other file left out" in found.description


def test_a_file_that_is_there_twice_is_named(tmp_path):
    write_shard(tmp_path, {"1.jpg": JPEG, "1.JPG": JPEG, "1.cls": b"0"})
    with pytest.raises(InputError, match=r"0000\.tar: 1\.JPG is there twice"):
        listing(tmp_path)


def test_a_damaged_tar_and_a_folder_without_tars_are_named(tmp_path):
    with pytest.raises(InputError, match="no tars in it"):
        listing(tmp_path)
    write_files(tmp_path, {"0000.tar": b"x" * 2000})
    with pytest.raises(InputError, match=r"0000\.tar: the header at byte 0 is damaged"):
        listing(tmp_path)


def test_tars_without_any_sample_say_so(tmp_path):
    write_shard(tmp_path, {"1.jpg": JPEG})
    with pytest.raises(InputError, match=r"no images; 1 rejected, the first .*no_label"):
        listing(tmp_path)


def test_the_fingerprint_changes_with_labels_and_times(tmp_path):
    write_webdataset(tmp_path, {"0.tar": [0, 1]})
    seen = {listing(tmp_path).fingerprint, listing(tmp_path).fingerprint}
    (tmp_path / "0.tar").touch()
    seen.add(listing(tmp_path).fingerprint)
    write_webdataset(tmp_path, {"0.tar": [1, 1]})
    seen.add(listing(tmp_path).fingerprint)
    assert len(seen) == 3
