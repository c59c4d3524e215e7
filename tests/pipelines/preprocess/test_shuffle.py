from itertools import pairwise

from pipelines.config import PreprocessSettings
from pipelines.preprocess.shuffle import assign
from pipelines.preprocess.sources import Item

ITEMS = [Item(f"image/{number:05d}", "uri", number, 1, number % 7, None) for number in range(5000)]


def settings(**changes):
    return PreprocessSettings.model_validate({"source": {"kind": "digits"}, "output": {"path": "x"}} | changes)


def test_every_item_is_in_one_split_and_about_the_asked_share_is_held_out():
    splits = assign(ITEMS, settings(val_fraction=0.2))
    assert sorted(splits["train"] + splits["val"]) == ITEMS
    assert 900 < len(splits["val"]) < 1100


def test_the_order_depends_on_seed_and_keys_alone():
    splits = assign(ITEMS, settings(seed=3))
    assert assign(reversed(ITEMS), settings(seed=3)) == splits
    assert assign(ITEMS, settings(seed=4))["train"] != splits["train"]


def test_an_item_stays_in_its_split_when_others_come_and_go():
    assert set(assign(ITEMS[::2], settings())["val"]) <= set(assign(ITEMS, settings())["val"])


def test_neighbours_in_the_source_end_far_apart():
    order = [item.offset for item in assign(ITEMS, settings(val_fraction=0))["train"]]
    apart = [abs(a - b) for a, b in pairwise(order)]
    assert 1500 < sum(apart) / len(apart) < 1800  # 5000 / 3 for a perfect shuffle


def test_a_source_with_its_own_splits_keeps_them():
    own = [item._replace(split="val" if item.offset < 10 else "train") for item in ITEMS]
    assert {item.offset for item in assign(own, settings())["val"]} == set(range(10))
