import json
import tarfile
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipelines.config import (
    CentreCrop,
    ImageSettings,
    InputError,
    LoaderSettings,
    PreprocessSettings,
    RandomFlip,
    ScoreSettings,
    TenCrop,
)
from pipelines.dataset.logged_model import ModelMetadata, metadata_of
from pipelines.dataset.storage import Location
from pipelines.evaluation.evaluate import probabilities_and_outcomes
from pipelines.evaluation.metrics import predict
from pipelines.images.codec import encode
from pipelines.loading.loader import Loader
from pipelines.preprocess.make_dataset import make_dataset
from pipelines.scoring.score import images_per_file, score
from tests.pipelines.scoring.logged import classifier, logged_model

pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint")  # of MLflow, about its own wrapper

IMAGE = ImageSettings(resize="shorter_side", size=40, quality=85)
CROP = (CentreCrop(kind="centre_crop", size=32),)
TOLERANCE = 1e-5
"""Relative, of probabilities: the exported graph adds in another order than the network it is of."""


def metadata(transforms=CROP, image=IMAGE, output="logits"):
    return ModelMetadata(
        image=image, transforms=transforms, class_names=tuple("abcdefghij"), output=output, dataset_digest="d"
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Forty images of two kinds and many sizes, in folders."""
    folder = Path(tmp_path_factory.mktemp("new images"))
    rng = np.random.default_rng(0)
    for number in range(40):
        height, width = rng.integers(36, 120, 2)
        coarse = rng.integers(0, 256, (6, 6, 3), np.uint8)
        pixels = coarse.repeat(20, 0).repeat(20, 1)[:height, :width]
        kind: Literal["png", "jpeg"] = "png" if number % 3 == 0 else "jpeg"
        path = folder / f"kind{number % 4}" / f"{number:02d}.{kind}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode(pixels, kind, 90))
    return folder


@pytest.fixture(scope="module")
def dataset(spark, folder, tmp_path_factory):
    """The same images, every one of them to validate."""
    root = tmp_path_factory.mktemp("dataset")
    tree = {
        "source": {"path": str(folder)},
        "image": IMAGE.model_dump(),
        "output": {"path": str(root), "rows_per_group": 8},
        "val_fraction": 0.6,
    }
    return root, make_dataset(spark, PreprocessSettings.model_validate(tree))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return logged_model(tmp_path_factory.mktemp("model"), metadata())


def settings(path, into, **more):
    return ScoreSettings.model_validate(
        {"source": {"path": str(path)}, "model": "models:/some@champion", "output": {"path": str(into)}} | more
    )


def scores(output):
    return {row["key"]: row for row in pq.read_table(output / "scores").to_pylist()}


def evaluated(root, manifest, network, transforms=CROP):
    """What jobs/evaluate.py predicts: key to probabilities."""
    loading = LoaderSettings(global_batch=16, lanes=1, val_transforms=transforms)
    with_keys = predict(network, Loader(root, manifest, "val", loading).epoch(0))
    found = {}
    for keys, labels, logits in with_keys:
        found |= zip(keys, probabilities_and_outcomes(logits, labels)[0], strict=True)
    return found


def assert_the_same(row, probabilities):
    order = np.argsort(-probabilities, kind="stable")[:5]
    assert [one["label"] for one in row["top"]] == order.tolist()
    np.testing.assert_allclose([one["probability"] for one in row["top"]], probabilities[order], rtol=TOLERANCE)
    assert [one["class_name"] for one in row["top"]] == ["abcdefghij"[label] for label in order]
    assert {name: row[name] for name in row["top"][0]} == row["top"][0]


def test_raw_files_are_answered_as_evaluation_answers_their_stored_images(spark, folder, dataset, model, tmp_path):
    report = score(spark, settings(folder, tmp_path / "out"), model)
    expected = evaluated(*dataset, classifier())
    found = scores(tmp_path / "out")
    assert report.scored == len(found) == 40
    assert len(expected) == 24
    for key, probabilities in expected.items():
        assert_the_same(found[key], probabilities)


def test_an_ensemble_of_probabilities_is_answered_with_their_average(spark, folder, dataset, tmp_path):
    ensemble = logged_model(tmp_path, metadata(output="probabilities"))
    score(spark, settings(folder, tmp_path / "out"), ensemble)
    found = scores(tmp_path / "out")
    of_members = [evaluated(*dataset, classifier(seed=seed)) for seed in (0, 1)]
    for key in of_members[0]:
        assert_the_same(found[key], np.mean([member[key] for member in of_members], 0))


def test_ten_crops_are_averaged_as_evaluation_averages_them(spark, folder, dataset, tmp_path):
    ten_crop = (TenCrop(kind="ten_crop", size=32),)
    score(spark, settings(folder, tmp_path / "out", batch=3), logged_model(tmp_path, metadata(ten_crop)))
    found = scores(tmp_path / "out")
    for key, probabilities in evaluated(*dataset, classifier(), ten_crop).items():
        assert_the_same(found[key], probabilities)


def test_a_split_of_a_dataset_is_scored_as_it_is_stored(spark, dataset, model, tmp_path, capsys):
    root, manifest = dataset
    score(spark, settings(root, tmp_path / "out"), model)
    found, expected = scores(tmp_path / "out"), evaluated(root, manifest, classifier())
    assert found.keys() == expected.keys()
    for key, probabilities in expected.items():
        assert_the_same(found[key], probabilities)
    assert "note:" not in capsys.readouterr().out
    report = score(spark, settings(root, tmp_path / "train", source={"path": str(root), "split": "train"}), model)
    assert report.scored == 16


def test_a_dataset_that_is_stored_otherwise_than_the_models_own_is_scored_with_a_note(spark, dataset, tmp_path, capsys):
    other = logged_model(tmp_path, metadata(image=IMAGE.model_copy(update={"size": 48})))
    assert score(spark, settings(dataset[0], tmp_path / "out"), other).scored == 24
    assert (
        "stored otherwise than what models:/some/1 was trained on: image.size = 40, not 48" in capsys.readouterr().out
    )


def test_tars_are_scored_in_place(spark, folder, model, tmp_path):
    with tarfile.open(tmp_path / "images.tar", "w") as tar:
        tar.add(folder, ".")
    score(spark, settings(folder, tmp_path / "of folder"), model)
    score(spark, settings(tmp_path / "images.tar", tmp_path / "of tar"), model)
    of_folder = {f"images/{key}": row["top"] for key, row in scores(tmp_path / "of folder").items()}
    assert {key: row["top"] for key, row in scores(tmp_path / "of tar").items()} == of_folder


def test_bad_images_become_rejects_with_reasons(spark, folder, model, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    good = (folder / "kind1" / "01.jpeg").read_bytes()
    (source / "good.jpeg").write_bytes(good)
    (source / "cut.jpeg").write_bytes(good[:200])
    (source / "empty.png").write_bytes(b"")
    (source / "text.png").write_bytes(b"no image at all, whatever its name says")
    (source / "small.png").write_bytes(encode(np.zeros((4, 40, 3), np.uint8), "png", 90))
    (source / "away.png").symlink_to("nowhere")
    report = score(spark, settings(source, tmp_path / "out", max_reject_fraction=0.9), model)
    assert list(scores(tmp_path / "out")) == ["good.jpeg"]
    rejects = {row["key"]: row["reason"] for row in pq.read_table(tmp_path / "out" / "rejects").to_pylist()}
    assert rejects == {
        "away.png": "unreadable",
        "cut.jpeg": "truncated",
        "empty.png": "empty",
        "small.png": "too_small",
        "text.png": "not_an_image",
    }
    assert report.rejected == dict.fromkeys(sorted(rejects.values()), 1)


def test_an_image_that_a_crop_does_not_fit_in_is_a_reject(spark, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for side in (20, 60):
        (source / f"{side}.jpg").write_bytes(encode(np.zeros((side, side, 3), np.uint8), "jpeg", 90))
    small = logged_model(tmp_path, metadata(image=IMAGE.model_copy(update={"keep_small": True})))
    report = score(spark, settings(source, tmp_path / "out", max_reject_fraction=0.5), small)
    assert (report.scored, report.rejected) == (1, {"too_small": 1})


def test_too_many_rejects_end_the_job_which_goes_on_if_more_are_allowed(spark, folder, model, tmp_path, capsys):
    source = tmp_path / "source"
    source.mkdir()
    for number in range(6):
        (source / f"{number}.jpeg").write_bytes((folder / "kind1" / "01.jpeg").read_bytes() if number % 2 else b"")
    layout = {"path": str(tmp_path / "out"), "images_per_file": 1, "files_per_wave": 2}
    with pytest.raises(InputError, match=r"2 of 6 images were rejected so far, more than max_reject_fraction = 0.2"):
        score(spark, settings(source, "", output=layout, max_reject_fraction=0.2), model)
    assert not (tmp_path / "out").exists()
    report = score(spark, settings(source, "", output=layout, max_reject_fraction=0.5), model)
    assert "4 of 6 files are written already; going on after them" in capsys.readouterr().out
    assert (report.scored, report.images_of_this_run) == (3, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["source", "out"] or not list(tmp_path.glob(".out*"))


def test_what_is_scored_is_not_scored_again_and_never_replaced_by_other_scores(spark, folder, model, tmp_path, capsys):
    made = score(spark, settings(folder, tmp_path / "out"), model)
    assert score(spark, settings(folder, tmp_path / "out", batch=5), model) == made
    assert f"{tmp_path / 'out'} holds these very scores already" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"holds other scores, of images in .* by models:/some/1: give another path"):
        score(spark, settings(folder, tmp_path / "out", top=3), model)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="taken is there already, but holds no scores"):
        score(spark, settings(folder, tmp_path / "taken"), model)


def test_what_other_settings_left_unfinished_goes_when_the_output_is_whole(spark, folder, model, tmp_path):
    stale, of_another = tmp_path / ".out-0123456789ab.unfinished", tmp_path / ".out-2-0123456789ab.unfinished"
    for left in (stale, of_another):
        left.mkdir()
    score(spark, settings(folder, tmp_path / "out"), model)
    assert not stale.exists()
    assert of_another.exists()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"scores", "report.json"}


def test_any_layout_that_preprocess_reads_is_scored(spark, digits, tmp_path):
    grey = metadata_of(digits.manifest, (), "logits")
    report = score(spark, settings("", tmp_path / "out", source={"kind": "digits"}), logged_model(tmp_path, grey))
    found = scores(tmp_path / "out")
    assert report.scored == len(found) == 1797
    expected = evaluated(digits.root, digits.manifest, classifier(1), ())
    for key in sorted(expected)[:50]:
        np.testing.assert_allclose(found[key]["probability"], expected[key].max(), rtol=TOLERANCE)


def test_fewer_classes_than_asked_for_are_all_listed(spark, folder, model, tmp_path):
    score(spark, settings(folder, tmp_path / "out", top=99), model)
    for row in scores(tmp_path / "out").values():
        assert len(row["top"]) == 10
        assert sum(one["probability"] for one in row["top"]) == pytest.approx(1)


def test_spark_reads_the_scores(spark, folder, model, tmp_path):
    score(spark, settings(folder, tmp_path / "out"), model)
    frame = spark.read.parquet(f"{tmp_path / 'out' / 'scores'}")
    assert frame.selectExpr("key", "class_name", "probability", "top[1].probability as second").count() == 40
    assert frame.where("probability < top[1].probability").count() == 0


def test_the_report_says_what_was_scored(spark, folder, model, tmp_path):
    score(spark, settings(folder, tmp_path / "out"), model)
    told = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (told["scored"], told["rejected"], told["model"]) == (40, {}, "models:/some/1")
    assert told["settings"]["output"]["path"] == str(tmp_path / "out")


@pytest.mark.filterwarnings("ignore:.*urllib3")
def test_a_store_without_folders_gets_the_report_last(spark, folder, model, bucket, monkeypatch):
    moved, rename = [], Location.rename
    monkeypatch.setattr(Location, "rename", lambda one, to: moved.append(to.name) or rename(one, to))
    report = score(spark, settings(folder, bucket / "out"), model)
    assert moved[0].startswith("part-")
    assert moved[-1] == "report.json"
    assert report.scored == 40
    assert [str(info.path).partition("/")[2] for info in bucket.files(below=True)] == [
        "out/report.json",
        *sorted(f"out/scores/part-{number:05d}.parquet" for number in range(1)),
    ]
    assert score(spark, settings(folder, bucket / "out"), model) == report


def test_what_cannot_be_scored_is_said_before_anything_is_done(spark, folder, digits, model, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("")
    for source, message in (
        (tmp_path / "nowhere", "source.path = .*nowhere: no such folder"),
        (tmp_path / "empty", "no image files or tars of them in it .*1 other file left out.*set source.kind"),
        (tmp_path / "empty" / "notes.txt", r"notes.txt: a file, but no .tar"),
        (digits.root, r"the val split of the dataset .* has images of 1 channels, models:/some/1 takes 3"),
    ):
        with pytest.raises(InputError, match=message):
            score(spark, settings(source, tmp_path / "out"), model)
    flips = logged_model(tmp_path, metadata((RandomFlip(kind="random_flip"), *CROP)))
    with pytest.raises(InputError, match="models:/some/1: its val_transforms draw at random"):
        score(spark, settings(folder, tmp_path / "out"), flips)
    assert not list(tmp_path.glob("*out*"))


def test_images_of_a_size_that_the_network_does_not_take_are_rejects(spark, dataset, tmp_path):
    whole = logged_model(tmp_path, metadata(transforms=()))
    message = r"24 of 24 images were rejected .*'too_large': 24.*it becomes \d+ x \d+ x 3, the model takes 32 x 32 x 3"
    with pytest.raises(InputError, match=message):
        score(spark, settings(dataset[0], tmp_path / "out"), whole)
    with pytest.raises(InputError, match=r"no image is usable: {'too_large': 24}"):
        score(spark, settings(dataset[0], tmp_path / "out", max_reject_fraction=1), whole)


def test_few_images_are_spread_over_tasks_and_many_make_no_small_files():
    output = settings("x", "y").output
    counts = (1, 256 * 128, 256 * 128 + 1, 1_281_167)
    assert [images_per_file(count, output) for count in counts] == [256, 256, 257, 4096]
