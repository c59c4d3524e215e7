import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipelines.config import InputError, LoaderSettings
from pipelines.dataset.storage import Location
from pipelines.loading.decoding import PADDING_LABEL
from pipelines.loading.loader import Loader
from pipelines.loading.reader import RowGroupReader

CROP = [{"kind": "random_crop", "size": 32, "padding": 3}]


def make(digits, split="train", rank=0, workers=1, seed=5, **settings):
    loading = LoaderSettings.model_validate(
        {"global_batch": 64, "lanes": 4, "window_row_groups": 2, "train_transforms": CROP} | settings
    )
    return Loader(digits.root, digits.manifest, split, loading, seed, rank, workers)


def keys(batches):
    return [key for batch in batches for key in batch.keys]


def test_an_epoch_gives_each_image_at_most_once_in_full_batches(digits):
    loader = make(digits)
    batches = list(loader.epoch(0))
    assert len(batches) == loader.steps_per_epoch == digits.manifest.splits["train"].rows // 64
    assert all(batch.images.shape == (64, 32, 32, 1) and batch.images.dtype == torch.uint8 for batch in batches)
    assert len(set(keys(batches))) == 64 * len(batches)


def test_images_and_labels_belong_to_their_keys(digits):
    from sklearn.datasets import load_digits

    target = load_digits().target
    for batch in make(digits, train_transforms=[]).epoch(0):
        assert batch.labels.tolist() == [target[int(key.split("/")[1])] for key in batch.keys]


def test_batches_are_the_plans(digits):
    loader = make(digits)
    stored = keys(make(digits, train_transforms=[], split="train").epoch(0))
    assert len(stored) == len(set(stored))
    plan, in_order = loader.plan(3), _stored_keys(digits)
    for step, batch in enumerate(loader.epoch(3)):
        assert list(batch.keys) == [in_order[row] for row in plan.batch_rows(step)]


def _stored_keys(digits):
    import pyarrow.parquet as pq

    folder = digits.root / digits.manifest.version
    files = digits.manifest.splits["train"].files
    return [key for file in files for key in pq.read_table(folder / file.path, columns=["key"])["key"].to_pylist()]


def test_epochs_come_in_other_orders_with_other_augmentation(digits):
    one, other = (list(make(digits).epoch(epoch)) for epoch in (0, 1))
    assert keys(one) != keys(other)
    pixels = [dict(zip(keys(batches), torch.cat([b.images for b in batches]), strict=True)) for batches in (one, other)]
    common = pixels[0].keys() & pixels[1].keys()
    assert sum(not torch.equal(pixels[0][key], pixels[1][key]) for key in common) > 0.9 * len(common)


@pytest.mark.parametrize("workers", [2, 4])
def test_several_workers_share_the_same_global_batches_pixel_for_pixel(digits, workers):
    alone = list(make(digits).epoch(1))
    shares = [list(make(digits, rank=rank, workers=workers).epoch(1)) for rank in range(workers)]
    for step, batch in enumerate(alone):
        pixels = dict(zip(batch.keys, batch.images, strict=True))
        together = [pair for share in shares for pair in zip(share[step].keys, share[step].images, strict=True)]
        assert sorted(pixels) == sorted(key for key, _ in together)
        assert all(torch.equal(image, pixels[key]) for key, image in together)


@pytest.mark.parametrize("threads", [1, 8])
def test_the_number_of_threads_changes_nothing(digits, threads):
    expected = list(make(digits, decode_threads=2, reader_threads=2).epoch(0))
    for batch, same in zip(
        expected, make(digits, decode_threads=threads, reader_threads=threads).epoch(0), strict=True
    ):
        assert batch.keys == same.keys
        assert torch.equal(batch.images, same.images)


@pytest.mark.parametrize("step", [1, 9, 21])
def test_an_epoch_resumed_at_a_step_is_the_tail_of_the_undisturbed_one(digits, step):
    tail = list(make(digits).epoch(2))[step:]
    for batch, resumed in zip(tail, make(digits).epoch(2, start_step=step), strict=True):
        assert batch.keys == resumed.keys
        assert torch.equal(batch.images, resumed.images)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_validation_counts_each_image_once_for_any_number_of_workers(digits, workers):
    seen = [
        key
        for rank in range(workers)
        for batch in make(digits, "val", rank, workers, global_batch=100, lanes=1).epoch(0)
        for key, label in zip(batch.keys, batch.labels.tolist(), strict=True)
        if label != PADDING_LABEL
    ]
    assert len(seen) == len(set(seen)) == digits.manifest.splits["val"].rows


def test_workers_have_equally_many_validation_batches(digits):
    counts = {len(list(make(digits, "val", rank, 3, global_batch=100, lanes=1).epoch(0))) for rank in range(3)}
    assert len(counts) == 1


def test_the_reader_keeps_its_order_when_its_threads_race(digits):
    """Petastorm's own pool is not always in order or complete when row groups are small and threads many."""
    folder, split = Location.at(digits.root) / digits.manifest.version, digits.manifest.splits["train"]
    groups = sum(len(file.row_groups) for file in split.files)
    everything = _tables(folder, split, list(range(groups)), threads=1)
    draws = np.random.default_rng(0)
    for _ in range(15):
        order = draws.integers(groups, size=40).tolist()
        tables = _tables(folder, split, order, threads=7)
        assert [table["key"][0] for table in tables] == [everything[group]["key"][0] for group in order]


def _tables(folder, split, order, threads):
    reader = RowGroupReader(folder, split, order, threads, ahead=5)
    try:
        return [reader.next_group() for _ in order]
    finally:
        reader.close()


def test_stopping_in_the_middle_leaves_no_thread_behind(digits):
    import threading

    before = set(threading.enumerate())
    batches = make(digits).epoch(0)
    next(batches)
    batches.close()
    assert [thread for thread in threading.enumerate() if thread not in before and thread.is_alive()] == []


@pytest.fixture
def copied(digits, tmp_path):
    root = shutil.copytree(digits.root, tmp_path / "copy")
    return replace(digits, root=root)


def _first_file(dataset):
    return dataset.root / dataset.manifest.version / dataset.manifest.splits["train"].files[0].path


def test_a_missing_file_is_an_error_that_names_it(copied):
    _first_file(copied).unlink()
    with pytest.raises(InputError, match=r"train/part-00000\.parquet: missing"):
        list(make(copied).epoch(0))


def test_a_truncated_file_is_an_error_that_says_so(copied):
    path = _first_file(copied)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InputError, match="not the Parquet that was written"):
        list(make(copied).epoch(0))


def test_a_file_with_other_rows_than_the_manifest_says_is_refused(copied):
    files = copied.manifest.splits["train"].files
    shutil.copy(_first_file(copied).with_name("part-00002.parquet"), _first_file(copied))
    assert files[0].rows != files[2].rows
    with pytest.raises(InputError, match="the manifest says"):
        list(make(copied).epoch(0))


def test_a_hostile_common_metadata_is_not_unpickled(copied):
    import pickle

    import pyarrow as pa
    import pyarrow.parquet as pq

    trap = copied.root / "sprung"

    class Hostile:
        def __reduce__(self):
            return (trap.touch, ())

    path = _first_file(copied).with_name("_common_metadata")
    schema = pq.read_schema(path)
    metadata = schema.metadata | {b"dataset-toolkit.unischema.v1": pickle.dumps(Hostile())}
    pq.write_metadata(pa.schema(list(schema), metadata), path)
    assert len(list(make(copied).epoch(0))) == make(copied).steps_per_epoch
    assert not trap.exists()


def test_images_that_differ_in_size_are_refused_with_what_to_add(digits):
    scales = [{"kind": "multi_scale", "sizes": [20, 21]}]
    with pytest.raises(InputError, match=r"differ in size .*add a crop or pad to loader\.train_transforms"):
        list(make(digits, train_transforms=scales).epoch(0))


def test_an_image_that_does_not_fit_a_transform_is_named(digits):
    with pytest.raises(InputError, match=r"image digits/\d{4}: crop of 40 pixels: the image is 32 x 32"):
        list(make(digits, train_transforms=[{"kind": "random_crop", "size": 40}]).epoch(0))
