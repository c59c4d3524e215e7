import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from petastorm import make_reader
from sklearn.datasets import load_digits

from pipelines.config import InputError, PreprocessSettings
from pipelines.dataset import columns
from pipelines.dataset.codec import decode
from pipelines.dataset.manifest import FILE_NAME, read_manifest
from pipelines.preprocess.make_dataset import make_dataset
from tests.pipelines.preprocess.test_sources import IMAGES, LABELS, write_idx


@pytest.fixture
def idx_settings(tmp_path):
    """Of a small dataset of 200 images, 3 x 2 pixels larger than digits, RGB."""
    (tmp_path / "raw").mkdir()
    write_idx(tmp_path / "raw", images=np.tile(IMAGES, (40, 1, 1)), labels=np.tile(LABELS, 40))

    def settings(**changes):
        tree = {
            "source": {"kind": "idx", "path": tmp_path / "raw"},
            "image": {"resize": "none", "format": "png"},
            "output": {"path": tmp_path / "dataset", "rows_per_group": 8, "rows_per_file": 20},
        }
        return PreprocessSettings.model_validate(tree | changes)

    return settings


def stored_rows(dataset, split):
    folder = dataset.root / dataset.manifest.version
    return [row for f in dataset.manifest.splits[split].files for row in pq.read_table(folder / f.path).to_pylist()]


def test_every_digit_is_in_one_split_with_its_label(digits):
    rows = stored_rows(digits, "train") + stored_rows(digits, "val")
    target = load_digits().target
    assert sorted(row["key"] for row in rows) == [f"digits/{number:04d}" for number in range(1797)]
    assert all(row["label"] == target[int(row["key"].split("/")[1])] for row in rows)
    assert {(row["height"], row["width"], row["variant"]) for row in rows} == {(32, 32, 0)}


def test_about_a_fifth_is_held_out(digits):
    assert 0.17 < digits.manifest.splits["val"].rows / 1797 < 0.23


def test_files_are_as_the_manifest_says(digits):
    folder = digits.root / digits.manifest.version
    for split in digits.manifest.splits.values():
        for file in split.files:
            metadata = pq.read_metadata(folder / file.path)
            assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == list(file.row_groups)
            assert (folder / file.path).stat().st_size == file.size_bytes
            assert set(file.row_groups[:-1]) <= {64}
            image = metadata.row_group(0).column(columns.IMAGES.names.index("image"))
            assert image.compression == "UNCOMPRESSED"


def test_class_counts_are_those_of_the_rows(digits):
    for name, split in digits.manifest.splits.items():
        counts = Counter(row["label"] for row in stored_rows(digits, name))
        assert split.class_counts == tuple(counts[label] for label in range(10))


def test_petastorm_spark_and_pyarrow_read_the_same_pixels(digits, spark):
    folder = digits.root / digits.manifest.version / "val"
    by_pyarrow = {row["key"]: decode(row["image"], 1)[:, :, 0] for row in stored_rows(digits, "val")}
    by_spark = {row.key: decode(bytes(row.image), 1)[:, :, 0] for row in spark.read.parquet(str(folder)).collect()}
    with make_reader(f"file://{folder}", shuffle_row_groups=False, num_epochs=1) as reader:
        by_petastorm = {row.key: row.image for row in reader}
    assert by_pyarrow.keys() == by_spark.keys() == by_petastorm.keys()
    assert len(by_pyarrow) == digits.manifest.splits["val"].rows
    for key, pixels in by_pyarrow.items():
        np.testing.assert_array_equal(pixels, by_spark[key])
        np.testing.assert_array_equal(pixels, by_petastorm[key])


def test_statistics_are_those_of_the_stored_training_pixels(digits):
    pixels = np.stack([decode(row["image"], 1) for row in stored_rows(digits, "train")]) / 255
    statistics = digits.manifest.statistics
    assert statistics.mean[0] == pytest.approx(pixels.mean(), abs=1e-8)
    assert statistics.std[0] == pytest.approx(pixels.std(), abs=1e-8)


def test_principal_components_are_those_of_the_colours(spark, idx_settings):
    settings = idx_settings(val_fraction=0, image={"resize": "none", "format": "png", "channels": 3})
    statistics = make_dataset(spark, settings).statistics
    colours = np.repeat(IMAGES.reshape(-1, 1) / 255, 3, axis=1)
    covariance = np.cov(colours.T, bias=True)
    vectors = np.array(statistics.eigenvectors)
    np.testing.assert_allclose(vectors @ np.diag(statistics.eigenvalues) @ vectors.T, covariance, atol=1e-8)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-6)
    assert list(statistics.eigenvalues) == sorted(statistics.eigenvalues, reverse=True)


def test_the_same_input_gives_the_same_content_in_another_place_and_another_seed_another(spark, idx_settings, tmp_path):
    first = make_dataset(spark, idx_settings())
    other_output = {"path": tmp_path / "again", "rows_per_group": 8, "rows_per_file": 20}
    assert make_dataset(spark, idx_settings(output=other_output)).digest == first.digest
    assert make_dataset(spark, idx_settings(seed=1)).digest != first.digest


def test_making_it_again_finds_it_made(spark, idx_settings, capsys):
    first = make_dataset(spark, idx_settings())
    capsys.readouterr()
    assert make_dataset(spark, idx_settings()) == first
    assert "holds this very dataset already" in capsys.readouterr().out


def test_a_damaged_dataset_is_made_again(spark, idx_settings, capsys):
    first = make_dataset(spark, idx_settings())
    path = idx_settings().output.path / first.version / first.splits["train"].files[1].path
    path.write_bytes(b"")
    assert make_dataset(spark, idx_settings()) == first
    assert f"{path} was altered; making the dataset again" in capsys.readouterr().out
    assert path.stat().st_size == first.splits["train"].files[1].size_bytes


def test_other_settings_publish_another_version_and_keep_the_files_of_the_one_before(spark, idx_settings):
    settings = idx_settings()
    first = make_dataset(spark, settings)
    second = make_dataset(spark, idx_settings(seed=9))
    assert second.version != first.version
    assert read_manifest(settings.output.path) == second
    assert (settings.output.path / first.version / first.splits["train"].files[0].path).exists()


@pytest.fixture
def some_broken(monkeypatch, tmp_path):
    """A source of ten digits, three of them no images; plain data that travels to Spark's workers."""
    from pipelines.preprocess import sources

    items = sources.list_source(sources.SourceSettings(kind="digits")).items[:10]
    broken = [item._replace(uri="nothing", length=0) if item.offset in (2, 5, 7) else item for item in items]

    def read(uri, offset, length):
        from pipelines.preprocess.sources import read_digit

        return read_digit(uri, offset, length) if length else b"no image"

    listing = sources.Listing(
        broken, sources.list_source(sources.SourceSettings(kind="digits")).classes, "ten", read, "f"
    )
    monkeypatch.setattr("pipelines.preprocess.make_dataset.list_source", lambda source: listing)

    def settings(**changes):
        tree = {"source": {"kind": "digits"}, "output": {"path": tmp_path / "dataset"}, "val_fraction": 0}
        return PreprocessSettings.model_validate(tree | changes)

    return settings


def test_rejects_are_left_out_counted_and_listed_with_their_reason(spark, some_broken):
    settings = some_broken(max_reject_fraction=0.3)
    manifest = make_dataset(spark, settings)
    assert manifest.splits["train"].rows == 7
    assert manifest.rejects == {"decode_error": 3}
    rejects = pq.read_table(settings.output.path / manifest.version / "rejects").to_pylist()
    assert sorted(reject["key"] for reject in rejects) == ["digits/0002", "digits/0005", "digits/0007"]
    assert {(reject["uri"], reject["reason"]) for reject in rejects} == {("nothing", "decode_error")}


def test_too_many_rejects_fail_the_job_and_publish_nothing(spark, some_broken):
    settings = some_broken(max_reject_fraction=0.29)
    with pytest.raises(InputError, match=r"3 of 10 images were rejected .*decode_error.* max_reject_fraction = 0\.29"):
        make_dataset(spark, settings)
    assert not (settings.output.path / FILE_NAME).exists()
    assert list(settings.output.path.glob(".v-*.tmp/rejects/*.parquet"))


def test_a_source_without_one_usable_image_says_why_and_publishes_nothing(spark, some_broken, monkeypatch):
    settings = some_broken(max_reject_fraction=1)
    listing = make_dataset.__globals__["list_source"](settings.source)
    broken = replace(listing, items=[item for item in listing.items if not item.length])
    monkeypatch.setattr("pipelines.preprocess.make_dataset.list_source", lambda source: broken)
    with pytest.raises(InputError, match=r"no training image is usable .*decode_error.*: 3"):
        make_dataset(spark, settings)
    assert not (settings.output.path / FILE_NAME).exists()


def test_a_dataset_without_validation_images_says_so_when_asked_for_them(spark, idx_settings):
    settings = idx_settings(val_fraction=0)
    manifest = make_dataset(spark, settings)
    with pytest.raises(InputError, match="the val split is empty"):
        manifest.split("val", settings.output.path)


def test_the_configuration_is_in_the_manifest(digits):
    configuration = json.loads((digits.root / FILE_NAME).read_text())["configuration"]
    assert PreprocessSettings.model_validate(configuration).output.rows_per_group == 64
