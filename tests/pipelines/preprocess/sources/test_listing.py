import pickle

import pyarrow as pa
import pytest

from pipelines.config import InputError, SourceSettings
from pipelines.dataset.storage import Location
from pipelines.preprocess.sources.listing import (
    LISTED,
    WHOLE_FILE,
    Item,
    ReadRange,
    class_table,
    fingerprint_of,
    repeated,
    repeated_key,
    table_of,
)

ITEMS = [Item(f"a/{number}", "a.tar", 512 * number, 10, number % 3, "train") for number in range(10)]


def settings(*names):
    return SourceSettings(kind="digits", class_names=names)


@pytest.mark.parametrize("block", [1, 3, 10, 11])
def test_a_table_holds_every_item_in_order(block):
    table = table_of(iter(ITEMS), block)
    assert table.schema == LISTED
    assert [Item(**row) for row in table.to_pylist()] == ITEMS


def test_no_items_are_an_empty_table():
    assert table_of([]).num_rows == 0


def test_ranges_and_whole_files_are_read_after_pickling(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.bin").write_bytes(b"0123456789")
    read = pickle.loads(pickle.dumps(ReadRange(Location.at(tmp_path))))
    assert read("a/x.bin", 3, 4) == b"3456"
    assert read("a/x.bin", 0, WHOLE_FILE) == b"0123456789"
    assert read("a/x.bin", 10, 0) == b""


def test_a_file_that_ends_before_its_image_fails_the_task(tmp_path):
    (tmp_path / "x.tar").write_bytes(b"0123456789")
    with pytest.raises(OSError, match=r"x\.tar: ends at byte 10, but an image goes on"):
        ReadRange(Location.at(tmp_path))("x.tar", 8, 4)


def test_a_file_that_is_gone_is_file_not_found(tmp_path):
    for length in (WHOLE_FILE, 4):
        with pytest.raises(FileNotFoundError):
            ReadRange(Location.at(tmp_path))("x.tar", 0, length)


def test_the_first_repeated_name_and_key_are_found():
    assert repeated(["a", "b", "b", "a"]) == "b"
    assert repeated(["a", "b"]) is None
    assert repeated_key(table_of(ITEMS)) is None
    assert repeated_key(table_of([*ITEMS, ITEMS[4]])) == "a/4"


def test_class_names_of_the_settings_go_first():
    assert [entry.words for entry in class_table(settings("x", "y"), ["0", "1"])] == ["x", "y"]


@pytest.mark.parametrize(
    ("names", "complete", "message"),
    [
        (("x", "y"), False, "has 2 names for labels from 0 to 2"),
        (("x", "y", "z", "w"), True, "has 4 names for labels from 0 to 2"),
        (("x", "y", "x"), False, "has 'x' twice"),
    ],
)
def test_wrong_class_names_are_refused(names, complete, message):
    with pytest.raises(InputError, match=message):
        class_table(settings(*names), ["0", "1", "2"], complete=complete)


def test_more_class_names_than_labels_seen_are_taken():
    assert len(class_table(settings("x", "y", "z", "w"), ["0", "1", "2"])) == 4


def test_a_fingerprint_depends_on_every_column_and_fact_and_not_on_how_a_table_is_cut():
    fingerprints = {fingerprint_of(table_of(ITEMS), "fact"), fingerprint_of(table_of(ITEMS, 3), "fact")}
    sliced = pa.concat_tables([table_of(ITEMS).slice(0, 4), table_of(ITEMS).slice(4)])
    fingerprints.add(fingerprint_of(sliced, "fact"))
    assert len(fingerprints) == 1
    other = Item("b", "b.tar", 7, 8, 9, None)
    for name in Item._fields:
        changed = [ITEMS[0]._replace(**{name: getattr(other, name)}), *ITEMS[1:]]
        fingerprints.add(fingerprint_of(table_of(changed), "fact"))
    fingerprints.add(fingerprint_of(table_of(ITEMS), "another fact"))
    assert len(fingerprints) == 8
