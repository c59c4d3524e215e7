import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from petastorm import make_reader
from sklearn.datasets import load_digits

from pipelines.config import InputError, LoaderSettings, PreprocessSettings
from pipelines.dataset import columns
from pipelines.dataset.manifest import FILE_NAME, find_damage, read_manifest
from pipelines.dataset.petastorm_files import petastorm_files
from pipelines.dataset.storage import Location
from pipelines.images.codec import decode, encode
from pipelines.images.formats import read_header, read_pixels
from pipelines.loading.loader import Loader
from pipelines.preprocess.make_dataset import make_dataset
from tests.pipelines.preprocess.sources.builders import (
    IMAGES,
    LABELS,
    write_hf_parquet,
    write_idx,
    write_ilsvrc,
    write_imagefolder,
    write_kaggle,
    write_webdataset,
)


@pytest.fixture
def idx_settings(tmp_path):
    """Of a small dataset of 200 images, 3 x 2 pixels larger than digits, RGB."""
    (tmp_path / "raw").mkdir()
    write_idx(tmp_path / "raw", images=np.tile(IMAGES, (40, 1, 1)), labels=np.tile(LABELS, 40))

    def settings(**changes):
        tree = {
            "source": {"kind": "idx", "path": str(tmp_path / "raw")},
            "image": {"resize": "none", "format": "png", "min_side": 1},
            "output": {"path": str(tmp_path / "dataset"), "rows_per_group": 8, "rows_per_file": 20},
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
    settings = idx_settings(val_fraction=0, image={"resize": "none", "format": "png", "channels": 3, "min_side": 1})
    statistics = make_dataset(spark, settings).statistics
    colours = np.repeat(IMAGES.reshape(-1, 1) / 255, 3, axis=1)
    covariance = np.cov(colours.T, bias=True)
    vectors = np.array(statistics.eigenvectors)
    np.testing.assert_allclose(vectors @ np.diag(statistics.eigenvalues) @ vectors.T, covariance, atol=1e-8)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-6)
    assert list(statistics.eigenvalues) == sorted(statistics.eigenvalues, reverse=True)


def test_the_same_input_gives_the_same_content_in_another_place_and_another_seed_another(spark, idx_settings, tmp_path):
    first = make_dataset(spark, idx_settings())
    other_output = {"path": str(tmp_path / "again"), "rows_per_group": 8, "rows_per_file": 20}
    assert make_dataset(spark, idx_settings(output=other_output)).digest == first.digest
    assert make_dataset(spark, idx_settings(seed=1)).digest != first.digest


def test_making_it_again_finds_it_made(spark, idx_settings, capsys):
    first = make_dataset(spark, idx_settings())
    capsys.readouterr()
    assert make_dataset(spark, idx_settings()) == first
    assert "holds this very dataset already" in capsys.readouterr().out


def test_a_damaged_dataset_is_made_again(spark, idx_settings, capsys):
    first = make_dataset(spark, idx_settings())
    path = Path(idx_settings().output.path) / first.version / first.splits["train"].files[1].path
    path.write_bytes(b"")
    assert make_dataset(spark, idx_settings()) == first
    assert f"{path} was altered; making it again" in capsys.readouterr().out
    assert path.stat().st_size == first.splits["train"].files[1].size_bytes


def test_other_settings_publish_another_version_and_keep_the_files_of_the_one_before(spark, idx_settings):
    settings = idx_settings()
    first = make_dataset(spark, settings)
    second = make_dataset(spark, idx_settings(seed=9))
    assert second.version != first.version
    assert read_manifest(settings.output.path) == second
    assert (Path(settings.output.path) / first.version / first.splits["train"].files[0].path).exists()


@pytest.fixture
def some_broken(tmp_path):
    """A source of ten images of two classes, three of them no images."""
    for number in range(10):
        path = tmp_path / "raw" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(
            b"no image" if number in (2, 5, 7) else encode(np.full((9, 9, 3), number, np.uint8), "png", 90)
        )

    def settings(**changes):
        tree = {
            "source": {"kind": "imagefolder", "path": str(tmp_path / "raw")},
            "output": {"path": str(tmp_path / "dataset")},
            "val_fraction": 0,
        }
        return PreprocessSettings.model_validate(tree | changes)

    return settings


def rejects_on_disk(settings):
    return pq.read_table(next(Path(settings.output.path).glob("v-*")) / "rejects").to_pylist()


def test_rejects_are_left_out_counted_and_listed_with_their_reason(spark, some_broken):
    settings = some_broken(max_reject_fraction=0.3)
    manifest = make_dataset(spark, settings)
    assert manifest.splits["train"].rows == 7
    assert manifest.rejects == {"not_an_image": 3}
    rejects = rejects_on_disk(settings)
    assert sorted(reject["key"] for reject in rejects) == ["a/2.png", "b/5.png", "b/7.png"]
    assert {reject["uri"] for reject in rejects} == {f"{settings.source.path}/{reject['key']}" for reject in rejects}
    assert {(reject["reason"], reject["detail"]) for reject in rejects} == {("not_an_image", "begins with b'no image'")}


def test_too_many_rejects_fail_the_job_and_publish_nothing(spark, some_broken):
    settings = some_broken(max_reject_fraction=0.29)
    with pytest.raises(
        InputError, match=r"3 of 10 images were rejected so far.* max_reject_fraction = 0\.29 .*not_an_image.*: 3"
    ):
        make_dataset(spark, settings)
    assert not (Path(settings.output.path) / FILE_NAME).exists()
    assert len(rejects_on_disk(settings)) == 3


def test_a_job_that_was_refused_is_refused_again(spark, some_broken):
    for _ in range(2):
        with pytest.raises(InputError, match="3 of 10 images were rejected"):
            make_dataset(spark, some_broken(max_reject_fraction=0))


def test_a_job_that_was_refused_goes_on_once_more_rejects_are_allowed(spark, some_broken, capsys):
    with pytest.raises(InputError):
        make_dataset(spark, some_broken(max_reject_fraction=0))
    assert make_dataset(spark, some_broken(max_reject_fraction=0.5)).splits["train"].rows == 7
    assert "1 of 1 files are written already; going on after them" in capsys.readouterr().out


def test_a_source_without_one_usable_image_says_why_and_publishes_nothing(spark, some_broken):
    settings = some_broken(max_reject_fraction=1)
    for path in Path(settings.source.path).rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(InputError, match=r"no training image is usable.*'empty': 10"):
        make_dataset(spark, settings)
    assert not (Path(settings.output.path) / FILE_NAME).exists()


def test_things_that_a_source_rejects_count_too(spark, some_broken, tmp_path):
    settings = some_broken(max_reject_fraction=0.4)
    (tmp_path / "outside.png").write_bytes(b"")
    (Path(settings.source.path) / "a" / "link.png").symlink_to(tmp_path / "outside.png")
    manifest = make_dataset(spark, settings)
    assert manifest.rejects == {"not_an_image": 3, "unsafe_path": 1}
    with pytest.raises(InputError, match="4 of 11"):
        make_dataset(spark, some_broken(max_reject_fraction=0.3, seed=5))


def test_validation_images_that_are_all_rejects_leave_an_empty_split(spark, tmp_path):
    write_imagefolder(tmp_path / "raw" / "train", {"cat": 2, "dog": 2})
    write_imagefolder(tmp_path / "raw" / "val", {"cat": 1, "dog": 1})
    for path in (tmp_path / "raw" / "val").rglob("*.png"):
        path.write_bytes(b"")
    manifest = preprocess(spark, tmp_path / "raw", tmp_path / "dataset", max_reject_fraction=1)
    assert (manifest.splits["train"].rows, manifest.splits["val"].rows, manifest.rejects) == (4, 0, {"empty": 2})


def test_a_dataset_without_validation_images_says_so_when_asked_for_them(spark, idx_settings):
    settings = idx_settings(val_fraction=0)
    manifest = make_dataset(spark, settings)
    with pytest.raises(InputError, match="the val split is empty"):
        manifest.split("val", settings.output.path)


def test_the_configuration_is_in_the_manifest(digits):
    configuration = json.loads((digits.root / FILE_NAME).read_text())["configuration"]
    assert PreprocessSettings.model_validate(configuration).output.rows_per_group == 64


# --- every source -------------------------------------------------------------------------------

SOURCES = {
    "ilsvrc": write_ilsvrc,
    "kaggle": write_kaggle,
    "imagefolder": lambda folder: write_imagefolder(folder, {"cat": 5, "dog": 4}),
    "hf_parquet": write_hf_parquet,
    "webdataset": lambda folder: write_webdataset(folder, {"train-0.tar": [0, 1, 2, 0], "val-0.tar": [1, 0]}),
}


def preprocess(spark, source, output, **changes):
    tree = {
        "source": {"path": str(source)},
        "image": {"resize": "none", "format": "png"},
        "output": {"path": str(output), "rows_per_group": 2, "rows_per_file": 4},
    }
    return make_dataset(spark, PreprocessSettings.model_validate(tree | changes))


def rows_of(manifest, output):
    """Rows of the dataset by split."""
    folder = Location.at(output) / manifest.version
    return {
        name: [row for file in split.files for row in pq.read_table((folder / file.path).open()).to_pylist()]
        for name, split in manifest.splits.items()
    }


def upload(folder, bucket):
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            (bucket / str(path.relative_to(folder))).write_bytes(path.read_bytes())


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_is_detected_and_gives_its_images_with_labels_and_splits(spark, tmp_path, capsys, kind):
    made = SOURCES[kind](tmp_path / "raw")
    manifest = preprocess(spark, tmp_path / "raw", tmp_path / "dataset")
    assert f"detected {kind} (" in capsys.readouterr().out
    rows = rows_of(manifest, tmp_path / "dataset")
    assert sorted(row["key"] for split in rows.values() for row in split) == sorted(made)
    for split, members in rows.items():
        for row in members:
            expected = made[row["key"]]
            assert (row["label"], expected.split or split) == (expected.label, split)
            assert (decode(row["image"], 3) == read_pixels(expected.encoded, read_header(expected.encoded), 3)).all()


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_gives_the_same_dataset_from_and_to_s3(spark, tmp_path, bucket, kind):
    SOURCES[kind](tmp_path / "raw")
    upload(tmp_path / "raw", bucket / "raw data")
    local = preprocess(spark, tmp_path / "raw", tmp_path / "dataset")
    remote = preprocess(spark, bucket / "raw data", bucket / "data set")
    assert remote.digest == local.digest
    assert read_manifest(bucket / "data set") == remote
    assert find_damage(remote, bucket / "data set") == {}
    names = {info.path.rpartition("/")[2] for info in (bucket / "data set" / remote.version).files(below=True)}
    assert {"_common_metadata", "samples.png", "histograms.png"} <= names


def test_a_dataset_on_s3_is_read_as_one_on_a_disk(spark, tmp_path, bucket):
    made = SOURCES["imagefolder"](tmp_path / "raw")
    image = {"resize": "square", "size": 8, "format": "png"}
    manifest = preprocess(spark, tmp_path / "raw", bucket / "dataset", val_fraction=0, image=image)
    settings = LoaderSettings(global_batch=len(made), lanes=1)
    (batch,) = Loader(bucket / "dataset", manifest, "train", settings).epoch(0)
    assert {key: int(label) for key, label in zip(batch.keys, batch.labels, strict=True)} == {
        key: entry.label for key, entry in made.items()
    }
    place = bucket / "dataset" / manifest.version / "train"
    filesystem = petastorm_files(place)
    with make_reader(f"file:{place.path}", filesystem=filesystem, shuffle_row_groups=False, num_epochs=1) as reader:
        assert sorted(row.key for row in reader) == sorted(made)


# --- augmentation, versions, reports ------------------------------------------------------------

AUGMENT: dict[str, Any] = {
    "variants": 2,
    "steps": [{"kind": "random_resized_crop", "size": 12}, {"kind": "random_flip"}],
    "multi_scale": [10],
}
LIT = AUGMENT | {"steps": [*AUGMENT["steps"], {"kind": "pca_lighting", "std": 5.0}]}


@pytest.mark.parametrize("augment", [AUGMENT, LIT])
def test_every_training_image_gets_every_variant_and_no_validation_image_any(spark, tmp_path, augment):
    write_imagefolder(tmp_path / "raw", {"cat": 10, "dog": 5})
    manifest = preprocess(spark, tmp_path / "raw", tmp_path / "dataset", augment=augment)
    rows = rows_of(manifest, tmp_path / "dataset")
    numbers = {row["key"]: [] for row in rows["train"]}
    for row in rows["train"]:
        numbers[row["key"]].append(row["variant"])
    assert len(numbers) == 12
    assert all(sorted(variants) == [0, 1, 2, 3] for variants in numbers.values())
    assert {row["variant"] for row in rows["val"]} == {0}
    assert manifest.splits["train"].class_counts == (32, 16)
    assert len(manifest.variants) == 4


def test_statistics_and_histograms_are_of_the_images_not_of_their_variants(spark, tmp_path):
    write_imagefolder(tmp_path / "raw", {"cat": 10, "dog": 5})
    plain = preprocess(spark, tmp_path / "raw", tmp_path / "plain")
    augmented = preprocess(spark, tmp_path / "raw", tmp_path / "augmented", augment=LIT)
    assert augmented.statistics == plain.statistics
    assert augmented.histograms == plain.histograms
    assert sum(plain.histograms["source height"].counts) == 15


def test_offline_variants_are_the_same_on_another_run_and_light_with_the_datasets_own_components(spark, tmp_path):
    write_imagefolder(tmp_path / "raw", {"cat": 10, "dog": 5})
    first = preprocess(spark, tmp_path / "raw", tmp_path / "first", augment=LIT)
    assert preprocess(spark, tmp_path / "raw", tmp_path / "second", augment=LIT).digest == first.digest
    lit, unlit = (
        {(row["key"], row["variant"]): decode(row["image"], 3).astype(int) for row in rows["train"]}
        for rows in (
            rows_of(first, tmp_path / "first"),
            rows_of(preprocess(spark, tmp_path / "raw", tmp_path / "third", augment=AUGMENT), tmp_path / "third"),
        )
    )
    shifts = [lit[place] - pixels for place, pixels in unlit.items() if place[1] >= 2]
    unclipped = [
        shift
        for place, shift in zip([p for p in unlit if p[1] >= 2], shifts, strict=True)
        if lit[place].min() > 0 and lit[place].max() < 255
    ]
    assert len(unclipped) > 3
    assert all(np.ptp(shift, axis=(0, 1)).max() == 0 for shift in unclipped)
    assert any(shift.any() for shift in unclipped)


def test_older_versions_are_kept_until_prune(spark, idx_settings):
    root = Path(idx_settings().output.path)
    versions = [make_dataset(spark, idx_settings(seed=seed)).version for seed in (1, 2)]
    assert sorted(path.name for path in root.glob("v-*")) == sorted(versions)
    output = idx_settings().output.model_dump() | {"prune": True}
    kept = make_dataset(spark, idx_settings(seed=2, output=output))  # which is there already
    assert [path.name for path in root.glob("v-*")] == [kept.version]
    last = make_dataset(spark, idx_settings(seed=3, output=output))
    assert [path.name for path in root.glob("v-*")] == [last.version]
    assert find_damage(last, root) == {}


def test_the_report_has_pictures_and_the_run_that_keeps_them_is_in_the_manifest(spark, some_broken):
    seen = []

    def log(manifest, report):
        seen.extend(info.base_name for info in report.files())
        return "run-1"

    settings = some_broken(max_reject_fraction=1, augment={"multi_scale": [9]})
    assert make_dataset(spark, settings, log).run_id == "run-1"
    assert read_manifest(settings.output.path).run_id == "run-1"
    assert seen == ["histograms.png", "rejects.png", "samples.png", "variants.png"]


def test_half_written_files_of_a_killed_job_do_not_end_the_next_one(spark, idx_settings):
    first = make_dataset(spark, idx_settings())
    root = Path(idx_settings().output.path)
    (root / FILE_NAME).unlink()
    (root / first.version / "train" / "_common_metadata").write_bytes(b"")
    (root / first.version / "journal" / ".wave-00009.jsonl.12.tmp").write_bytes(b"")
    assert make_dataset(spark, idx_settings()).digest == first.digest


def test_a_damaged_manifest_is_replaced(spark, idx_settings, capsys):
    first = make_dataset(spark, idx_settings())
    (Path(idx_settings().output.path) / FILE_NAME).write_text("{}")
    assert make_dataset(spark, idx_settings()).digest == first.digest
    assert "it will be replaced" in capsys.readouterr().out


@pytest.mark.attack
@pytest.mark.parametrize("has_manifest", [True, False])
def test_making_a_dataset_anew_touches_nothing_that_a_link_leads_to(spark, idx_settings, tmp_path, has_manifest):
    made = make_dataset(spark, idx_settings())
    root, precious = Path(idx_settings().output.path), tmp_path / "precious"
    (root / made.version).rename(precious)
    (root / made.version).symlink_to(precious)
    names = [file.path for split in made.splits.values() for file in split.files]
    for name in names:
        (precious / name).write_bytes(b"mine")  # damage, by the manifest
    if not has_manifest:
        (root / FILE_NAME).unlink()
    with pytest.raises(InputError, match=rf"{made.version}: a link to {precious}, outside of the dataset"):
        make_dataset(spark, idx_settings())
    assert all((precious / name).read_bytes() == b"mine" for name in names)
