import hashlib
import pickle
import shutil
import time
from contextlib import closing
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pipelines.config import InputError, LoaderSettings
from pipelines.config.loader import ProgressiveSettings
from pipelines.dataset import columns
from pipelines.dataset.lookup import stored_images
from pipelines.dataset.manifest import group_checksum
from pipelines.dataset.storage import Location
from pipelines.images.augmentation import replay
from pipelines.loading.decoding import PADDING_LABEL
from pipelines.loading.loader import Loader
from pipelines.loading.reader import RowGroupReader
from tests.hostile import Hostile

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
    plan, in_order = loader.plan(3), _stored(digits, "key")
    for step, batch in enumerate(loader.epoch(3)):
        assert list(batch.keys) == [in_order[row] for row in plan.batch_rows(step)]


def _stored(digits, column, split="train"):
    paths = [digits.root / digits.manifest.version / file.path for file in digits.manifest.splits[split].files]
    return [value for path in paths for value in pq.read_table(path, columns=[column])[column].to_pylist()]


def test_epochs_come_in_other_orders_with_other_augmentation(digits):
    one, other = (one_epoch(make(digits), epoch) for epoch in (0, 1))
    assert list(one) != list(other)
    common = one.keys() & other.keys()
    assert sum(not torch.equal(one[key], other[key]) for key in common) > 0.9 * len(common)


@pytest.mark.parametrize("workers", [2, 4])
def test_several_workers_share_the_same_global_batches_pixel_for_pixel(digits, workers):
    alone = list(make(digits).epoch(1))
    shares = [list(make(digits, rank=rank, workers=workers).epoch(1)) for rank in range(workers)]
    for step, batch in enumerate(alone):
        pixels = dict(zip(batch.keys, batch.images, strict=True))
        together = [pair for share in shares for pair in zip(share[step].keys, share[step].images, strict=True)]
        assert sorted(pixels) == sorted(key for key, _ in together)
        assert all(torch.equal(image, pixels[key]) for key, image in together)


def one_epoch(loader, epoch=0):
    """Images by key, copied: what a loader gives is used again."""
    return {
        key: image.clone() for batch in loader.epoch(epoch) for key, image in zip(batch.keys, batch.images, strict=True)
    }


ALL_DRAWS = [
    {"kind": "random_resized_crop", "size": 24},
    {"kind": "scale_jitter", "low": 26, "high": 34},
    {"kind": "random_crop", "size": 24, "padding": 2},
    {"kind": "random_flip"},
    {"kind": "colour_jitter", "brightness": 0.4, "contrast": 0.4},
    {"kind": "pca_lighting", "std": 0.5},
]


@pytest.mark.parametrize("threads", [1, 8])
def test_the_number_of_threads_changes_no_pixel(digits, threads):
    settings = {"train_transforms": ALL_DRAWS}
    expected = one_epoch(make(digits, decode_threads=2, reader_threads=2, **settings))
    got = one_epoch(make(digits, decode_threads=threads, reader_threads=threads, **settings))
    assert list(expected) == list(got)
    assert all(torch.equal(expected[key], got[key]) for key in expected)


def test_what_augmented_an_image_can_be_replayed(digits):
    from pipelines.images.augmentation import replay
    from pipelines.images.codec import decode

    stored = _stored(digits, "image")
    for batch in make(digits, train_transforms=ALL_DRAWS).epoch(4):
        for index in range(0, 64, 9):
            whole = decode(stored[int(batch.rows[index])], channels=1)
            assert (replay(whole, batch.drawn.of(index)) == batch.images[index].numpy()).all()


def test_a_batch_keeps_its_pixels_as_long_as_somebody_holds_them(digits):
    held = [(batch.images[3:5], batch.images.sum()) for batch in make(digits).epoch(0)]
    copies = [(batch.images[3:5].clone(), batch.images.sum()) for batch in make(digits).epoch(0)]
    assert all(torch.equal(one, other) and a == b for (one, a), (other, b) in zip(held, copies, strict=True))


def test_memory_of_batches_is_used_again(digits):
    addresses = {batch.images.data_ptr() for batch in make(digits).epoch(0)}
    assert len(addresses) < 22 / 2


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


@pytest.mark.parametrize("start_step", [0, 3])
def test_epochs_in_one_go_are_the_epochs_one_by_one(digits, start_step):
    loader = make(digits)
    one_by_one = [batch for epoch in (4, 5, 6) for batch in loader.epoch(epoch, start_step if epoch == 4 else 0)]
    for batch, alone in zip(loader.epochs(range(4, 7), start_step), one_by_one, strict=True):
        assert batch.keys == alone.keys
        assert torch.equal(batch.images, alone.images)


def test_the_next_epoch_is_begun_before_the_last_one_ends(digits, monkeypatch):
    begun = []
    whole_epoch = Loader.plan
    monkeypatch.setattr(Loader, "plan", lambda loader, epoch: begun.append(epoch) or whole_epoch(loader, epoch))
    loader = make(digits)
    with closing(loader.epochs(range(1, 4))) as batches:
        for _ in range(loader.steps_per_epoch):
            next(batches)
        deadline = time.monotonic() + 20
        while 2 not in begun and time.monotonic() < deadline:
            time.sleep(0.01)
        assert 2 in begun
        assert 3 not in begun


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
    with pytest.raises(InputError, match=r"bytes, the manifest says .* not the Parquet that was written"):
        list(make(copied).epoch(0))


def test_a_file_with_other_rows_than_the_manifest_says_is_refused(copied):
    files = copied.manifest.splits["train"].files
    shutil.copy(_first_file(copied).with_name("part-00002.parquet"), _first_file(copied))
    assert files[0].rows != files[2].rows
    with pytest.raises(InputError, match="the manifest says"):
        list(make(copied).epoch(0))


@pytest.mark.attack
def test_an_altered_image_is_an_error_that_names_file_and_row_group(copied):
    path = _first_file(copied)
    content = bytearray(path.read_bytes())
    at = content.index(b"IDAT", len(content) // 2) + 20
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"part-00000\.parquet, row group \d+: altered since it was written"):
        list(make(copied).epoch(0))


def test_all_batches_before_a_damaged_row_group_are_given(copied):
    loader = make(copied, window_row_groups=1)
    plan = loader.plan(0)
    needed_at = {}
    for window in plan.reading_order(range(plan.lanes)):
        for segment in window.segments:
            needed_at.setdefault(segment.group, window.start // plan.rows_per_lane)
    group, step = max(needed_at.items(), key=lambda item: item[1])
    assert step > loader.settings.prefetch_batches
    undisturbed = [batch.keys for batch in loader.epoch(0)]
    _damage(copied, group)
    batches = loader.epochs(range(2))
    assert [next(batches).keys for _ in range(step)] == undisturbed[:step]
    with pytest.raises(InputError, match="altered since it was written"):
        next(batches)


def _damage(dataset, group):
    """Alter an image of a row group of the training split."""
    for file in dataset.manifest.splits["train"].files:
        if group < len(file.row_groups):
            break
        group -= len(file.row_groups)
    path = dataset.root / dataset.manifest.version / file.path
    content = bytearray(path.read_bytes())
    column = pq.read_metadata(path).row_group(group).column(columns.IMAGES.get_field_index(columns.IMAGE))
    behind_statistics = column.data_page_offset + column.total_compressed_size // 2
    content[content.index(b"IDAT", behind_statistics) + 20] ^= 1
    path.write_bytes(content)


def test_a_file_that_is_cut_off_while_it_is_read_is_an_error_that_names_it(copied):
    batches = make(copied, readahead_row_groups=1, window_row_groups=1, prefetch_batches=1).epoch(0)
    next(batches)
    for file in copied.manifest.splits["train"].files:
        path = copied.root / copied.manifest.version / file.path
        path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"part-0000\d\.parquet.*preprocess again"):
        list(batches)


@pytest.mark.attack
def test_a_hostile_common_metadata_is_not_unpickled(copied):
    trap = copied.root / "sprung"
    path = _first_file(copied).with_name("_common_metadata")
    schema = pq.read_schema(path)
    metadata = schema.metadata | {b"dataset-toolkit.unischema.v1": pickle.dumps(Hostile(trap))}
    pq.write_metadata(pa.schema(list(schema), metadata), path)
    assert len(list(make(copied).epoch(0))) == make(copied).steps_per_epoch
    assert not trap.exists()
    pickle.loads(pickle.dumps(Hostile(trap)))
    assert trap.exists()  # the trap works


@pytest.mark.attack
def test_a_packed_row_group_that_could_be_of_any_size_is_not_unpacked(copied):
    path = _first_file(copied)
    packed = copied.manifest.splits["train"].files[0]
    table = pq.read_table(path)
    table = table.set_column(1, table.schema.field("image"), [pa.array([bytes(100_000)] * len(table), pa.binary())])
    pq.write_table(table, path, compression="zstd", use_dictionary=False, row_group_size=64)
    size_bytes = path.stat().st_size
    assert size_bytes < 1 << 20 < 40 << 20 < table.nbytes
    files = (packed.model_copy(update={"size_bytes": size_bytes}), *copied.manifest.splits["train"].files[1:])
    split = copied.manifest.splits["train"].model_copy(update={"files": files})
    reader = RowGroupReader(Location.at(copied.root) / copied.manifest.version, split, [0], threads=1, ahead=0)
    with closing(reader), pytest.raises(InputError, match=r"part-00000\.parquet, row group 0: packed, and could be"):
        reader.next_group()


@pytest.mark.attack
def test_a_hostile_cache_entry_is_not_unpickled(copied, tmp_path):
    """Petastorm's disk cache pickles row groups into a folder; ours has none that anything could be planted in."""
    from petastorm.cache import NullCache
    from petastorm.local_disk_cache import LocalDiskCache

    trap, place = tmp_path / "sprung", tmp_path / "cache"
    split = copied.manifest.splits["train"]
    folder = Location.at(copied.root) / copied.manifest.version
    first = (folder / split.files[0].path).path
    cache = LocalDiskCache(str(place), 10**8, 100, cleanup=False)
    for piece in range(sum(len(file.row_groups) for file in split.files)):
        key = f"{hashlib.md5(first.encode()).hexdigest()}:{first}:{piece}"
        cache.get(key, lambda: Hostile(trap))
    reader = RowGroupReader(folder, split, [0], threads=1, ahead=1)
    assert isinstance(reader.cache, NullCache)
    assert isinstance(reader.next_group(), pa.Table)
    reader.close()
    assert len(list(make(copied).epoch(0))) == make(copied).steps_per_epoch
    assert not trap.exists()
    cache.get(key, lambda: None)
    assert trap.exists()  # the trap works


def test_images_that_differ_in_size_are_refused_with_what_to_add(digits):
    scales = [{"kind": "multi_scale", "sizes": [20, 21]}]
    with pytest.raises(InputError, match=r"differ in size .*add a crop or pad to loader\.train_transforms"):
        list(make(digits, train_transforms=scales).epoch(0))


def test_images_that_differ_in_size_lie_at_the_corner_of_the_largest_if_asked_for(digits):
    scales = [{"kind": "multi_scale", "sizes": [20, 24, 28]}]
    loader = make(digits, "val", val_transforms=scales)
    sizes, stored = set(), stored_images(digits.root, digits.manifest, "val", set(_stored(digits, "key", "val")))
    for batch in replace(loader, pad_to_largest=True).epoch(0):
        assert batch.images.shape[1:3] == tuple(batch.drawn.sizes.max(0))
        for place, (height, width) in enumerate(batch.drawn.sizes):
            sizes.add((height, width))
            expected = replay(stored[batch.keys[place]], batch.drawn.of(place))
            assert np.array_equal(batch.images[place, :height, :width], expected)
            assert not batch.images[place, height:].any()
            assert not batch.images[place, :, width:].any()
    assert len(sizes) == 3


def test_an_image_that_does_not_fit_a_transform_is_named(digits):
    with pytest.raises(InputError, match=r"image digits/\d{4}: crop of 40 pixels: the image is 32 x 32"):
        list(make(digits, train_transforms=[{"kind": "random_crop", "size": 40}]).epoch(0))


# --- sizes that do not fit ---------------------------------------------------------------------


def few(digits, rows, split="train"):
    """The dataset as if it had only so many rows, in one row group of its first file."""
    whole = digits.manifest.splits[split].files[0]
    assert whole.row_groups[0] >= rows
    folder = digits.root / digits.manifest.version
    path = folder / split / f"few-{rows}.parquet"
    table = pq.read_table(folder / whole.path).slice(0, rows)
    pq.write_table(table, path, compression="none", use_dictionary=False)
    file = whole.model_copy(
        update={
            "path": f"{split}/{path.name}",
            "row_groups": (rows,),
            "group_checksums": (group_checksum(table),),
            "size_bytes": path.stat().st_size,
        }
    )
    splits = digits.manifest.splits | {split: digits.manifest.splits[split].model_copy(update={"files": (file,)})}
    return replace(digits, manifest=digits.manifest.model_copy(update={"splits": splits}))


@pytest.mark.parametrize("workers", [1, 4, 8])
def test_fewer_row_groups_than_workers_still_give_all_of_them_batches(copied, workers):
    dataset = few(copied, 40)
    shares = [
        list(make(dataset, rank=rank, workers=workers, global_batch=16, lanes=8).epoch(0)) for rank in range(workers)
    ]
    assert {len(share) for share in shares} == {2}
    names = [key for share in shares for key in keys(share)]
    assert len(names) == len(set(names)) == 32


def test_one_row_trains_and_validates(copied):
    (batch,) = make(few(copied, 1), global_batch=1, lanes=1).epoch(0)
    assert len(batch.keys) == 1
    validated = [
        list(make(few(copied, 1, "val"), "val", rank, 3, global_batch=6, lanes=1).epoch(0)) for rank in range(3)
    ]
    assert [len(share) for share in validated] == [1, 1, 1]
    assert sorted(key for (batch,) in validated for key in batch.keys if key) == [_stored(copied, "key", "val")[0]]


def test_examples_have_the_networks_size_also_where_a_workers_share_is_padding_alone(copied):
    dataset = few(copied, 3, "val")
    loaders = [make(dataset, "val", rank, 8, global_batch=64, lanes=8) for rank in range(8)]
    assert {tuple(loader.examples(2).shape) for loader in loaders} == {(2, 32, 32, 1)}
    assert all(loader.times.images == 0 for loader in loaders)


def test_a_file_without_a_column_is_an_error_that_names_it(copied):
    dataset = few(copied, 40)
    (file,) = dataset.manifest.splits["train"].files
    path = dataset.root / dataset.manifest.version / file.path
    pq.write_table(pq.read_table(path).drop(["width"]), path, compression="none", use_dictionary=False)
    shorter = file.model_copy(update={"size_bytes": path.stat().st_size})
    split = dataset.manifest.splits["train"].model_copy(update={"files": (shorter,)})
    manifest = dataset.manifest.model_copy(update={"splits": dataset.manifest.splits | {"train": split}})
    with pytest.raises(InputError, match=r"few-40\.parquet: without the columns width"):
        list(make(replace(dataset, manifest=manifest), global_batch=4).epoch(0))


def test_a_split_smaller_than_a_batch_is_refused_with_what_to_change(copied):
    with pytest.raises(
        InputError, match=r"has 40 images, fewer than one batch of 64: set loader\.global_batch to at most 40"
    ):
        list(make(few(copied, 40)).epoch(0))


def test_workers_that_cannot_share_the_lanes_are_refused_with_what_to_change(digits):
    with pytest.raises(InputError, match=r"3 workers cannot share 4 lanes evenly: set loader\.lanes to a multiple"):
        next(make(digits, rank=0, workers=3).epoch(0))


# --- resuming ----------------------------------------------------------------------------------


def test_a_resumed_epoch_reads_no_row_group_that_it_does_not_need(digits, monkeypatch):
    read = []
    original = RowGroupReader.next_group

    def noted(self):
        table = original(self)
        read.append(set(table["key"].to_pylist()))
        return table

    monkeypatch.setattr(RowGroupReader, "next_group", noted)
    needed = set(keys(make(digits, window_row_groups=1).epoch(2, start_step=17)))
    assert read
    assert all(names & needed for names in read)
    assert len(read) <= 4 * 3  # of 23 row groups; four lanes have 5 of 22 steps left


# --- kinds of images ---------------------------------------------------------------------------


def test_ten_crops_are_views_of_each_image(digits):
    ten = [{"kind": "pad", "size": 36}, {"kind": "ten_crop", "size": 32}]
    batch = next(make(digits, "val", global_batch=30, val_transforms=ten, lanes=1).epoch(0))
    assert batch.images.shape == (30, 10, 32, 32, 1)
    padded = torch.nn.functional.pad(
        next(make(digits, "val", global_batch=30, lanes=1).epoch(0)).images, (0, 0, 2, 2, 2, 2)
    )
    expected = [
        padded[:, 0:32, 0:32],
        padded[:, 0:32, 4:36],
        padded[:, 4:36, 0:32],
        padded[:, 4:36, 4:36],
        padded[:, 2:34, 2:34],
    ]
    for number, crop in enumerate(expected):
        assert torch.equal(batch.images[:, number], crop)
        assert torch.equal(batch.images[:, number + 5], crop.flip(2))


def test_crops_grow_with_the_epoch(digits):
    crop = [{"kind": "random_resized_crop", "size": 32}]
    progressive = {"start_size": 16, "first_epoch": 2, "last_epoch": 6, "multiple": 4}
    loader = make(digits, train_transforms=crop, progressive=progressive)
    sides = [next(loader.epoch(epoch)).images.shape[1] for epoch in range(8)]
    assert sides == [16, 16, 16, 20, 24, 28, 32, 32]
    steps = loader.steps_per_epoch
    in_one_go = [batch.images.shape[1] for batch in loader.epochs(range(2, 5))]
    assert in_one_go == [16] * steps + [20] * steps + [24] * steps


def test_sizes_of_growing_crops_stay_between_the_first_and_the_full_one():
    uneven = ProgressiveSettings(start_size=130, last_epoch=30)
    sizes = [uneven.size(epoch, 250) for epoch in range(32)]
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1], max(sizes)) == (130, 250, 250)


def test_a_loader_tells_where_its_time_went(digits):
    loader = make(digits)
    for _ in loader.epoch(0):
        pass
    times = loader.times
    assert times.images == 64 * loader.steps_per_epoch
    assert min(times.read, times.deal, times.decode, times.transform, times.wait) > 0
    assert "spent waiting: input bounds this training" in str(times)
    assert all(name in str(times) for name in ("read", "decode", "transform", "wait"))
