import pytest

from pipelines.config import InputError, SourceSettings
from pipelines.dataset.storage import Location
from pipelines.preprocess.sources import list_source
from pipelines.preprocess.sources.detect import detect
from tests.pipelines.preprocess.sources.builders import (
    write_files,
    write_hf_parquet,
    write_idx,
    write_ilsvrc,
    write_imagefolder,
    write_kaggle,
    write_webdataset,
)


def write_unpacked(folder):
    write_ilsvrc(folder, train="folders", val="folder", devkit="folder")


@pytest.mark.parametrize(
    ("write", "kind", "why"),
    [
        (write_ilsvrc, "ilsvrc", "ILSVRC2012_img_train.tar is there"),
        (write_unpacked, "ilsvrc", "ILSVRC2012_devkit_t12 is there"),
        (lambda folder: write_files(folder, {"ILSVRC2012_img_train/a/1.JPEG": b""}), "ilsvrc", "ILSVRC2012_img_train"),
        (lambda folder: write_files(folder, {"train/n01440764.tar": b""}), "ilsvrc", "train/n01440764.tar is there"),
        (write_kaggle, "kaggle", "LOC_val_solution.csv is there"),
        (lambda folder: write_files(folder, {"ILSVRC/Data/CLS-LOC/a": b""}), "kaggle", "ILSVRC/Data/CLS-LOC is there"),
        (write_idx, "idx", "train-images-idx3-ubyte is there"),
        (lambda folder: write_idx(folder, suffix=".gz"), "idx", "train-images-idx3-ubyte.gz is there"),
        (write_hf_parquet, "hf_parquet", "Parquet files are in"),
        (lambda folder: write_hf_parquet(folder / "data"), "hf_parquet", "/data"),
        (lambda folder: write_webdataset(folder, {"a.tar": [0]}), "webdataset", "a.tar is there"),
        (lambda folder: write_webdataset(folder, {"val/a.tar": [0]}), "webdataset", "val/a.tar is there"),
        (lambda folder: write_imagefolder(folder, {"cat": 1}), "imagefolder", "cat/ has images such as 0.png"),
        (lambda folder: write_imagefolder(folder / "train", {"cat": 1}), "imagefolder", "cat/ has images such as"),
        (
            lambda folder: write_files(folder, {"a/x": b"", "cat/b/1.jpg": b""}),
            "imagefolder",
            "cat/ has images such as",
        ),
    ],
)
def test_each_layout_is_detected_with_its_reason(tmp_path, write, kind, why):
    write(tmp_path)
    found, reason = detect(Location.at(tmp_path))
    assert found == kind
    assert why in reason


def test_a_detected_source_is_listed_and_said_in_a_line(tmp_path, capsys):
    write_ilsvrc(tmp_path)
    found = list_source(SourceSettings(path=str(tmp_path)))
    assert found.description.startswith("ILSVRC2012 in")
    assert capsys.readouterr().out == (
        f"source.path = {tmp_path}: detected ilsvrc (ILSVRC2012_img_train.tar is there)\n"
    )


def test_a_kind_that_is_given_is_not_detected(tmp_path, capsys):
    write_unpacked(tmp_path)
    assert list_source(SourceSettings(kind="imagefolder", path=str(tmp_path / "train"))).classes[0].wnid == "n01440764"
    assert capsys.readouterr().out == ""


def test_an_unknown_layout_tells_what_is_there_and_what_was_expected(tmp_path):
    write_files(tmp_path, {f"file{number}.txt": b"" for number in range(9)} | {"folder/a.txt": b""})
    with pytest.raises(InputError, match=r"It holds folder/, .*file6\.txt and 2 more\. Known are:") as error:
        detect(Location.at(tmp_path))
    for kind in ("ilsvrc", "kaggle", "imagefolder", "idx", "hf_parquet", "webdataset"):
        assert f"\n  {kind}: " in str(error.value)


def test_an_empty_folder_is_said_to_hold_nothing(tmp_path):
    with pytest.raises(InputError, match="It holds nothing"):
        detect(Location.at(tmp_path))


def test_a_path_that_is_missing_or_a_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"source\.path = .*/gone: no such folder"):
        list_source(SourceSettings(path=str(tmp_path / "gone")))
    (tmp_path / "a.tar").write_bytes(b"")
    with pytest.raises(InputError, match=r"source\.path = .*/a\.tar is a file; give the folder"):
        list_source(SourceSettings(path=str(tmp_path / "a.tar")))
