import os

import pytest

from pipelines.config import InputError, SourceSettings
from pipelines.dataset.storage import Location
from pipelines.preprocess.sources import list_source
from pipelines.preprocess.sources.imagefolder import _common_root
from pipelines.preprocess.sources.listing import ReadRange
from tests.pipelines.preprocess.sources.builders import contents, encoded_image, write_files, write_imagefolder

CLASSES = {"cat": 2, "Cat": 1, "dog": 3}


def listing(folder, **settings):
    return list_source(SourceSettings(kind="imagefolder", path=str(folder), **settings))


def keys(found):
    return found.items.column("key").to_pylist()


def test_folders_are_classes_in_the_order_of_their_names(tmp_path):
    made = write_imagefolder(tmp_path, CLASSES)
    found = listing(tmp_path)
    assert contents(found) == made
    assert [(entry.index, entry.words, entry.wnid) for entry in found.classes] == [
        (0, "Cat", None),
        (1, "cat", None),
        (2, "dog", None),
    ]


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_train_and_val_folders_are_the_splits_and_keys_do_not_tell_what_they_were_called(tmp_path, val):
    made = write_imagefolder(tmp_path / "train", CLASSES, "train", "train/")
    made |= write_imagefolder(tmp_path / val, CLASSES, "val", "val/")
    assert contents(listing(tmp_path)) == made


def test_val_may_lie_elsewhere(tmp_path):
    made = write_imagefolder(tmp_path / "a" / "images", CLASSES, "train", "train/")
    made |= write_imagefolder(tmp_path / "b", CLASSES, "val", "val/")
    assert contents(listing(tmp_path / "a" / "images", val_path=str(tmp_path / "b"))) == made


def test_train_alone_leaves_the_split_to_later(tmp_path):
    made = write_imagefolder(tmp_path / "train", CLASSES)
    assert contents(listing(tmp_path)) == made


def test_a_class_may_be_missing_in_val_but_not_in_train(tmp_path):
    made = write_imagefolder(tmp_path / "train", {"cat": 1, "dog": 1}, "train", "train/")
    made |= write_imagefolder(tmp_path / "val", {"cat": 1}, "val", "val/")
    assert contents(listing(tmp_path)) == made
    write_imagefolder(tmp_path / "val", {"cow": 1})
    with pytest.raises(InputError, match=f"{tmp_path}/val: the class cow has no folder in {tmp_path}/train"):
        listing(tmp_path)


def test_wnids_are_told(tmp_path):
    write_imagefolder(tmp_path, {"n01440764": 1, "n0144": 1})
    assert [(entry.words, entry.wnid) for entry in listing(tmp_path).classes] == [
        ("n0144", None),
        ("n01440764", "n01440764"),
    ]


def test_folders_below_a_class_are_part_of_the_key(tmp_path):
    data = encoded_image("deep")
    write_files(tmp_path, {"cat/a/b/1.jpg": data, "cat/1.jpg": data})
    assert keys(listing(tmp_path)) == ["cat/1.jpg", "cat/a/b/1.jpg"]


def test_image_suffixes_count_in_any_case_and_other_files_are_counted(tmp_path):
    suffixes = ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm", "pgm", "jfif", "JPEG", "Png"]
    write_files(tmp_path, {f"cat/1.{suffix}": b"x" for suffix in suffixes})
    assert "left out" not in listing(tmp_path).description
    write_files(tmp_path, {"cat/list.txt": b"x", "cat/README": b"x"})
    found = listing(tmp_path)
    assert sorted(keys(found)) == sorted(f"cat/1.{suffix}" for suffix in suffixes)
    assert "2 other files left out" in found.description


def test_what_desktops_leave_is_passed_over_silently(tmp_path):
    made = write_imagefolder(tmp_path, CLASSES)
    write_files(tmp_path, {"cat/._1.png": b"x", "cat/.DS_Store": b"x", "__MACOSX/a.png": b"x", ".git/a.png": b"x"})
    found = listing(tmp_path)
    assert contents(found) == made
    assert not found.rejects
    assert "left out" not in found.description


def test_a_class_without_images_is_named(tmp_path):
    write_imagefolder(tmp_path, CLASSES)
    write_files(tmp_path, {"cow/notes.txt": b"x"})
    with pytest.raises(InputError, match=f"{tmp_path}: the class cow has no images"):
        listing(tmp_path)


def test_a_folder_without_folders_is_named(tmp_path):
    write_files(tmp_path, {"1.jpg": b"x"})
    with pytest.raises(InputError, match=f"{tmp_path}: no folders in it"):
        listing(tmp_path)


def test_a_missing_path_is_named(tmp_path):
    with pytest.raises(InputError, match=r"source\.path = .*/nothing: no such folder"):
        listing(tmp_path / "nothing")
    write_imagefolder(tmp_path, CLASSES)
    with pytest.raises(InputError, match=r"source\.val_path = .*/nothing: no such folder"):
        listing(tmp_path, val_path=str(tmp_path / "nothing"))
    with pytest.raises(InputError, match=r"source\.path = .*0\.png is a file"):
        listing(tmp_path / "cat" / "0.png")


def test_ambiguous_folders_are_refused(tmp_path):
    write_imagefolder(tmp_path / "val", CLASSES)
    with pytest.raises(InputError, match="val/ is there, but no train/"):
        listing(tmp_path)
    write_imagefolder(tmp_path / "train", CLASSES)
    write_imagefolder(tmp_path / "valid", CLASSES)
    with pytest.raises(InputError, match="both val/ and valid/"):
        listing(tmp_path)


@pytest.mark.parametrize("val", [".", "cat"])
def test_val_must_not_lie_in_train(tmp_path, val):
    write_imagefolder(tmp_path, CLASSES)
    with pytest.raises(InputError, match="must not lie in one another"):
        listing(tmp_path, val_path=str(tmp_path / val))


def test_val_in_another_storage_is_refused(tmp_path):

    far = Location(Location.at(tmp_path).filesystem, "bucket/val", "s3://")
    with pytest.raises(InputError, match="must lie in the same storage"):
        _common_root(Location.at(tmp_path), far)


def test_the_fingerprint_changes_with_names_sizes_and_times(tmp_path):
    write_imagefolder(tmp_path, CLASSES)
    image = tmp_path / "cat" / "0.png"
    seen = [listing(tmp_path).fingerprint]
    assert listing(tmp_path).fingerprint == seen[0]
    times = (image.stat().st_atime_ns, image.stat().st_mtime_ns)
    image.write_bytes(image.read_bytes() + b"x")
    os.utime(image, ns=times)
    seen.append(listing(tmp_path).fingerprint)
    os.utime(image, ns=(times[0], times[1] + 1))
    seen.append(listing(tmp_path).fingerprint)
    image.rename(tmp_path / "cat" / "9.png")
    seen.append(listing(tmp_path).fingerprint)
    assert len(set(seen)) == 4


def test_the_reader_names_what_is_gone(tmp_path):
    write_imagefolder(tmp_path, CLASSES)
    found = listing(tmp_path)
    assert isinstance(found.read, ReadRange)
    (tmp_path / "cat" / "0.png").unlink()
    with pytest.raises(FileNotFoundError):
        found.read("cat/0.png", 0, -1)
