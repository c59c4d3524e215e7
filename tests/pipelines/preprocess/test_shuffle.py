from collections import Counter
from itertools import pairwise

import pytest

from pipelines.config import PreprocessSettings
from pipelines.preprocess.shuffle import assign
from pipelines.preprocess.sources.listing import Item, Listing, table_of

ITEMS = [Item(f"image/{number:05d}", "file", number, 1, number % 7, None) for number in range(5000)]


def settings(**changes):
    return PreprocessSettings.model_validate({"source": {"kind": "digits"}, "output": {"path": "x"}} | changes)


def listing(items, **changes):
    return Listing(table_of(items), (), "items", "", lambda *place: b"", "", **changes)


def assigned(items, **changes):
    return {name: table.to_pylist() for name, table in assign(listing(items), settings(**changes)).items()}


def keys(rows):
    return [row["key"] for row in rows]


def test_every_item_is_in_one_split():
    splits = assigned(ITEMS)
    assert sorted(keys(splits["train"]) + keys(splits["val"])) == [item.key for item in ITEMS]
    assert {row["key"]: row["label"] for rows in splits.values() for row in rows} == {i.key: i.label for i in ITEMS}


@pytest.mark.parametrize("share", [0.0, 0.07, 0.2, 0.5])
def test_the_asked_share_of_every_class_is_held_out(share):
    held_out = Counter(row["label"] for row in assigned(ITEMS, val_fraction=share)["val"])
    for label, size in Counter(item.label for item in ITEMS).items():
        assert abs(held_out[label] - size * share) <= 0.5


def test_a_class_of_one_image_trains():
    splits = assigned([*ITEMS[:70], ITEMS[70]._replace(label=99)], val_fraction=0.2)
    assert 99 in {row["label"] for row in splits["train"]}


def test_the_order_depends_on_seed_and_keys_alone():
    splits = assigned(ITEMS, seed=3)
    assert assigned(ITEMS[::-1], seed=3) == splits
    assert assigned(ITEMS, seed=4)["train"] != splits["train"]


def test_neighbours_in_the_source_end_far_apart():
    order = [row["offset"] for row in assigned(ITEMS, val_fraction=0)["train"]]
    apart = [abs(a - b) for a, b in pairwise(order)]
    assert 1500 < sum(apart) / len(apart) < 1800  # 5000 / 3 for a perfect shuffle


def test_a_source_with_its_own_splits_keeps_them():
    own = [item._replace(split="val" if item.offset < 10 else "train") for item in ITEMS]
    assert {row["offset"] for row in assigned(own)["val"]} == set(range(10))


def test_items_that_are_costly_to_read_apart_stay_together_in_blocks():
    # Four files of row groups; `length` numbers an item's row group.
    items = [Item(f"image/{n:05d}", f"file{n // 1000}", n, n % 1000 // 100, 0, None) for n in range(4000)]
    table = assign(listing(items, read_in_file_order=True), settings(val_fraction=0))["train"]
    blocks = [(row["file"], row["length"]) for row in table.to_pylist()]
    assert sum(a != b for a, b in pairwise(blocks)) == 39  # each of the 40 blocks in one piece
    assert blocks != sorted(blocks)
    assert keys(table.to_pylist()) != sorted(keys(table.to_pylist()))
