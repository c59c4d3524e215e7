import gzip
import tracemalloc

import pytest

from pipelines.config import InputError, SourceSettings
from pipelines.preprocess.sources import list_source
from tests.pipelines.preprocess.sources.builders import (
    SYNSETS,
    Synset,
    contents,
    devkit_files,
    encoded_image,
    imagenet_train,
    imagenet_val,
    tar_of,
    write_devkit,
    write_files,
    write_ilsvrc,
)

TRAIN_TAR = "ILSVRC2012_img_train.tar"
VAL_TAR = "ILSVRC2012_img_val.tar"
DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"
TRUTH = [1, 2, 3, 4, 1, 2, 3, 4]


def listing(folder, **settings):
    return list_source(SourceSettings(kind="ilsvrc", path=str(folder), **settings))


def packed_classes(**changes):
    """Class tars by name; None leaves one out."""
    tars = {f"{wnid}.tar": tar_of(images) for wnid, images in imagenet_train(SYNSETS, 3).items()} | changes
    return {name: content for name, content in tars.items() if content is not None}


@pytest.mark.parametrize("train", ["tar", "class_tars", "folders"])
@pytest.mark.parametrize("val", ["tar", "folder"])
@pytest.mark.parametrize("devkit", ["tar", "folder"])
def test_every_image_comes_with_its_label_and_split_whatever_is_unpacked(tmp_path, train, val, devkit):
    made = write_ilsvrc(tmp_path, train=train, val=val, devkit=devkit)
    assert contents(listing(tmp_path)) == made


def test_folders_named_after_the_tars_are_found(tmp_path):
    made = write_ilsvrc(tmp_path, train="folders", val="folder")
    (tmp_path / "train").rename(tmp_path / "ILSVRC2012_img_train")
    (tmp_path / "val").rename(tmp_path / "ILSVRC2012_img_val")
    assert contents(listing(tmp_path)) == made


def test_a_class_may_be_unpacked_beside_class_tars(tmp_path):
    made = write_ilsvrc(tmp_path, train="class_tars")
    wnid, images = next(iter(imagenet_train(SYNSETS, 3).items()))
    (tmp_path / "train" / f"{wnid}.tar").unlink()
    write_files(tmp_path / "train" / wnid, images)
    assert contents(listing(tmp_path)) == made


def test_images_are_ranges_of_the_outer_tar(tmp_path):
    write_ilsvrc(tmp_path)
    assert set(listing(tmp_path).items.column("file").to_pylist()) == {TRAIN_TAR, VAL_TAR}
    assert {path.name for path in tmp_path.iterdir()} == {TRAIN_TAR, VAL_TAR, DEVKIT}


def test_a_val_label_is_the_place_of_its_wnid_and_not_its_ilsvrc_id(tmp_path):
    write_ilsvrc(tmp_path)
    made = contents(listing(tmp_path))
    labels = [made[f"val/ILSVRC2012_val_{number:08d}.JPEG"].label for number in range(1, 9)]
    by_place = [sorted(synset.wnid for synset in SYNSETS).index(SYNSETS[number - 1].wnid) for number in TRUTH]
    assert labels == by_place == [3, 0, 2, 1] * 2
    assert labels != [ilsvrc_id - 1 for ilsvrc_id in TRUTH]


def test_classes_are_the_devkits_leaves_by_wnid(tmp_path):
    write_ilsvrc(tmp_path)
    assert [(entry.index, entry.wnid, entry.ilsvrc_id, entry.words) for entry in listing(tmp_path).classes] == [
        (0, "n01440764", 2, "tench, Tinca tinca"),
        (1, "n01443537", 4, "goldfish, Carassius auratus"),
        (2, "n01698640", 3, "American alligator, Alligator mississipiensis"),
        (3, "n02085620", 1, "Chihuahua"),
    ]


def test_names_from_the_settings_replace_the_devkits_but_must_be_as_many(tmp_path):
    write_ilsvrc(tmp_path)
    named = listing(tmp_path, class_names=("a", "b", "c", "d")).classes
    assert [(entry.words, entry.wnid) for entry in named][:2] == [("a", "n01440764"), ("b", "n01443537")]
    with pytest.raises(InputError, match="has 5 names for labels from 0 to 3"):
        listing(tmp_path, class_names=("a", "b", "c", "d", "e"))


def test_all_missing_parts_are_named_with_where_to_get_them(tmp_path):
    with pytest.raises(InputError, match=rf"missing {TRAIN_TAR} .*{VAL_TAR} .*{DEVKIT} .*image-net\.org"):
        listing(tmp_path)


@pytest.mark.parametrize("name", [TRAIN_TAR, VAL_TAR, DEVKIT])
def test_one_missing_part_is_named_alone(tmp_path, name):
    write_ilsvrc(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(InputError, match=f"missing {name}") as error:
        listing(tmp_path)
    assert sum(part in str(error.value) for part in (TRAIN_TAR, VAL_TAR, DEVKIT)) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n00000001.tar": tar_of({"1.JPEG": b"x"})}, "n00000001 is no class of .*devkit"),
        ({"n01440764.tar": None}, "the class n01440764 of .*devkit.* is missing"),
        ({"n01440764.tar": None, "n02085620.tar": None}, r"n01440764 .* is missing \(2 such classes in all\)"),
        ({"n01440764.tar": tar_of({})}, "the class n01440764 has no images"),
        ({"./n01440764.tar": tar_of({"1.JPEG": b"x"})}, "the class n01440764 is there twice"),
        ({"n01440764.tar": b""}, r"n01440764\.tar: ends at byte \d+"),
        ({"../n00000001.tar": b""}, "its name leads out of the tar"),
    ],
)
def test_a_wrong_class_tar_is_named(tmp_path, changes, message):
    write_ilsvrc(tmp_path)
    (tmp_path / TRAIN_TAR).write_bytes(tar_of(packed_classes(**changes)))
    with pytest.raises(InputError, match=message):
        listing(tmp_path)


def test_a_wrong_class_folder_is_named(tmp_path):
    write_ilsvrc(tmp_path, train="folders")
    write_files(tmp_path / "train", {"n00000001/1.JPEG": b"x"})
    with pytest.raises(InputError, match="train: n00000001 is no class of"):
        listing(tmp_path)
    (tmp_path / "train" / "n00000001").rename(tmp_path / "train" / "n01440764.old")
    write_files(tmp_path / "train", {"n01440764.tar": tar_of({"1.JPEG": b"x"})})
    with pytest.raises(InputError, match="train: the class n01440764 is there twice"):
        listing(tmp_path)


@pytest.mark.attack
def test_unsafe_members_are_rejects_and_clutter_is_passed_over(tmp_path):
    made = write_ilsvrc(tmp_path)
    images = imagenet_train(SYNSETS, 3)["n01440764"]
    content = tar_of(
        {"../1.JPEG": b"x", "._2.JPEG": b"x", ".DS_Store": b"x", "notes.txt": b"x", "a.JPEG/": b""} | images
    )
    (tmp_path / TRAIN_TAR).write_bytes(tar_of(packed_classes(**{"n01440764.tar": content})))
    found = listing(tmp_path)
    assert contents(found) == made
    assert [(reject.key, reject.reason) for reject in found.rejects] == [("train/n01440764/../1.JPEG", "unsafe_path")]
    assert found.rejects[0].uri == str(tmp_path / TRAIN_TAR)
    assert "1 other file left out" in found.description


@pytest.mark.parametrize("val", ["tar", "folder"])
def test_a_val_image_without_label_and_a_label_without_image_are_named(tmp_path, val):
    write_ilsvrc(tmp_path, val=val)
    write_devkit(tmp_path, SYNSETS, TRUTH[:-1])
    with pytest.raises(InputError, match=r"ILSVRC2012_val_00000008\.JPEG .* has no line in .*ground_truth"):
        listing(tmp_path)
    write_devkit(tmp_path, SYNSETS, [*TRUTH, 1, 2])
    with pytest.raises(InputError, match=r"2 of the 10 validation images .* the first is ILSVRC2012_val_00000009"):
        listing(tmp_path)


def test_val_images_sorted_into_class_folders_keep_their_labels(tmp_path):
    made = write_ilsvrc(tmp_path, val="folder")
    for name, (synset, _) in imagenet_val(SYNSETS, 2).items():
        (tmp_path / "val" / synset.wnid).mkdir(exist_ok=True)
        (tmp_path / "val" / name).rename(tmp_path / "val" / synset.wnid / name)
    assert contents(listing(tmp_path)) == made


TRUTH_FILE = "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (devkit_files(SYNSETS, [1, 2, 77]), "line 3 is '77', which is the ILSVRC id of no class"),
        (devkit_files(SYNSETS, [1, 1001]), "line 2 is '1001'"),
        (devkit_files([*SYNSETS, Synset("n01440764", 5, "tench")], TRUTH), "n01440764 is there twice"),
        (devkit_files([*SYNSETS, Synset("n09999999", 1, "again")], TRUTH), "two classes have one ILSVRC id"),
        (devkit_files([], []), "no classes"),
        ({TRUTH_FILE: b"1\n"}, "data/meta.mat is not in it"),
        ({TRUTH_FILE: b"", "ILSVRC2012_devkit_t12/data/meta.mat": b"no"}, "meta.mat: no table of synsets"),
        ({"ILSVRC2012_devkit_t12/data/meta.mat": b""}, "ground_truth.txt is not in it"),
    ],
)
@pytest.mark.parametrize("layout", ["tar", "folder"])
def test_a_wrong_devkit_is_named(tmp_path, files, message, layout):
    write_ilsvrc(tmp_path)
    (tmp_path / DEVKIT).unlink()
    if layout == "tar":
        (tmp_path / DEVKIT).write_bytes(gzip.compress(tar_of(files)))
    else:
        write_files(tmp_path, files)
    with pytest.raises(InputError, match=f"devkit.*{message}"):
        listing(tmp_path)


@pytest.mark.parametrize("damage", [lambda content: content[:-20], lambda content: b"no" + content])
def test_a_damaged_devkit_archive_is_named(tmp_path, damage):
    write_ilsvrc(tmp_path)
    (tmp_path / DEVKIT).write_bytes(damage((tmp_path / DEVKIT).read_bytes()))
    with pytest.raises(InputError, match=rf"{DEVKIT}: not readable.*copy it again"):
        listing(tmp_path)


def test_one_class_alone_is_read(tmp_path):
    made = write_ilsvrc(tmp_path, SYNSETS[:1])
    assert contents(listing(tmp_path)) == made


def test_a_tar_cut_short_while_listed_is_named(tmp_path):
    write_ilsvrc(tmp_path)
    path = tmp_path / TRAIN_TAR
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(InputError, match=rf"{TRAIN_TAR}: ends at byte 9000"):
        listing(tmp_path)


def test_the_fingerprint_changes_with_any_file(tmp_path):
    write_ilsvrc(tmp_path)
    seen = {listing(tmp_path).fingerprint, listing(tmp_path).fingerprint}
    assert len(seen) == 1
    (tmp_path / TRAIN_TAR).write_bytes(
        tar_of(packed_classes(**{"n01440764.tar": tar_of({"1.JPEG": encoded_image("other")})}))
    )
    seen.add(listing(tmp_path).fingerprint)
    (tmp_path / VAL_TAR).touch()
    seen.add(listing(tmp_path).fingerprint)
    write_devkit(tmp_path, SYNSETS, [*reversed(TRUTH)])
    seen.add(listing(tmp_path).fingerprint)
    assert len(seen) == 4


def test_check_md5_refuses_files_that_are_not_the_published_ones(tmp_path):
    write_ilsvrc(tmp_path)
    with pytest.raises(InputError, match=rf"{DEVKIT}: md5 is [0-9a-f]{{32}}, but fa75699e90414af021442c21a62c3abf was"):
        listing(tmp_path, check_md5=True)


@pytest.mark.attack
def test_a_devkit_that_is_a_gzip_bomb_costs_no_memory_and_is_named(tmp_path):
    write_ilsvrc(tmp_path)
    (tmp_path / DEVKIT).write_bytes(40 * gzip.compress(bytes(16 << 20)))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"devkit_t12\.tar\.gz: not readable: it unpacks to more than"):
            listing(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 200 << 20
    finally:
        tracemalloc.stop()
