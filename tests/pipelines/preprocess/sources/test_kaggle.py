import shutil

import pytest

from pipelines.config import InputError, SourceSettings
from pipelines.preprocess.sources import list_source
from tests.pipelines.preprocess.sources.builders import SYNSETS, contents, write_files, write_ilsvrc, write_kaggle

IMAGES = "ILSVRC/Data/CLS-LOC"


def listing(folder, **settings):
    return list_source(SourceSettings(kind="kaggle", path=str(folder), **settings))


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_every_image_comes_with_its_label_and_split(tmp_path):
    made = write_kaggle(tmp_path)
    assert contents(listing(tmp_path)) == made


def test_keys_labels_and_images_are_those_of_the_original_tars(tmp_path):
    write_kaggle(tmp_path / "kaggle")
    write_ilsvrc(tmp_path / "ilsvrc")
    original = list_source(SourceSettings(kind="ilsvrc", path=str(tmp_path / "ilsvrc")))
    assert contents(listing(tmp_path / "kaggle")) == contents(original)


def test_classes_are_the_mappings_lines_by_wnid(tmp_path):
    write_kaggle(tmp_path)
    found = [(entry.index, entry.wnid, entry.words, entry.ilsvrc_id) for entry in listing(tmp_path).classes]
    assert found[0] == (0, "n01440764", "tench, Tinca tinca", None)
    assert [wnid for _, wnid, _, _ in found] == sorted(synset.wnid for synset in SYNSETS)


@pytest.mark.parametrize("name", [f"{IMAGES}/train", f"{IMAGES}/val", "LOC_val_solution.csv", "LOC_synset_mapping.txt"])
def test_a_missing_part_is_named(tmp_path, name):
    write_kaggle(tmp_path)
    path = tmp_path / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(InputError, match=f"missing {name}"):
        listing(tmp_path)


def test_val_images_without_solution_are_named(tmp_path):
    write_kaggle(tmp_path)
    write_files(tmp_path / IMAGES / "val", {"ILSVRC2012_val_00000099.JPEG": b"x"})
    with pytest.raises(InputError, match=r"ILSVRC2012_val_00000099\.JPEG .* has no line in .*LOC_val_solution\.csv"):
        listing(tmp_path)


def test_solutions_without_image_are_counted_and_the_first_is_named(tmp_path):
    write_kaggle(tmp_path)
    for number in (3, 5):
        (tmp_path / IMAGES / "val" / f"ILSVRC2012_val_{number:08d}.JPEG").unlink()
    with pytest.raises(InputError, match=r"2 of the 8 validation images .* the first is ILSVRC2012_val_00000003"):
        listing(tmp_path)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("LOC_val_solution.csv", "ImageId,", "Image,", "its columns are .* expected ImageId and PredictionString"),
        ("LOC_val_solution.csv", "00000008,n01443537", "00000008,n00000001", "line 2: 'n00000001' is no class"),
        ("LOC_val_solution.csv", "00000008,n01443537 85 1 499 272", "00000008", "line 2: '' is no class"),
        ("LOC_val_solution.csv", "00000007,", "00000008,", "line 3: ILSVRC2012_val_00000008 is there twice"),
        ("LOC_synset_mapping.txt", "n01440764 tench, Tinca tinca", "n01440764", "line 1 is 'n01440764', expected"),
        ("LOC_synset_mapping.txt", "n01440764", "n01443537", "n01443537 is there twice"),
        ("LOC_synset_mapping.txt", "n01440764", "n00000001", "'n01440764' is no class of .*LOC_synset_mapping.txt"),
    ],
)
def test_a_wrong_table_is_named_with_its_line(tmp_path, name, old, new, message):
    write_kaggle(tmp_path)
    edit(tmp_path / name, old, new)
    with pytest.raises(InputError, match=message):
        listing(tmp_path)


def test_a_table_that_is_no_text_is_named(tmp_path):
    write_kaggle(tmp_path)
    (tmp_path / "LOC_val_solution.csv").write_bytes(b"PK\x03\x04\xff\xfe")
    with pytest.raises(InputError, match=r"LOC_val_solution\.csv: not UTF-8"):
        listing(tmp_path)


def test_class_folders_and_mapping_must_agree(tmp_path):
    write_kaggle(tmp_path)
    train = tmp_path / IMAGES / "train"
    write_files(train, {"n00000001/1.JPEG": b"x"})
    with pytest.raises(InputError, match=r"train: n00000001 is no class of .*LOC_synset_mapping\.txt"):
        listing(tmp_path)
    shutil.rmtree(train / "n00000001")
    shutil.rmtree(train / "n01440764")
    with pytest.raises(InputError, match=r"train: the class n01440764 .* is missing"):
        listing(tmp_path)
    (train / "n01440764").mkdir()
    with pytest.raises(InputError, match="train: the class n01440764 has no images"):
        listing(tmp_path)


def test_the_fingerprint_changes_with_the_tables_and_the_images(tmp_path):
    write_kaggle(tmp_path)
    seen = {listing(tmp_path).fingerprint, listing(tmp_path).fingerprint}
    for name in ("LOC_val_solution.csv", "LOC_synset_mapping.txt", f"{IMAGES}/val/ILSVRC2012_val_00000001.JPEG"):
        (tmp_path / name).touch()
        seen.add(listing(tmp_path).fingerprint)
    assert len(seen) == 4
