import numpy as np
import pytest

from pipelines.dataset.manifest import HISTOGRAM_EDGES
from pipelines.dataset.storage import Location
from pipelines.preprocess.image import Reject, Stored
from pipelines.preprocess.records import FileRecord, Journal, rejects_of
from pipelines.preprocess.statistics import histograms, split_of, statistics


def stored(level=3, height=2, width=5, source=(200, 5000), size=100):
    count = height * width
    sums = np.full(3, count * level), np.full((3, 3), count * level**2)
    return Stored(b"x" * size, height, width, *source, *sums)


def record(path="train/part-00000.parquet", **changes):
    made = FileRecord(path, row_groups=[2], size_bytes=7, sha256="ab", **changes)
    made.count(1, 0, stored())
    made.reject("bad.jpg", "root/bad.jpg", Reject("empty", "0 bytes"))
    return made


def test_a_record_survives_its_journey():
    assert FileRecord.from_json(record().to_json()) == record()


def test_variants_count_as_rows_of_their_class_but_not_in_sums_and_histograms():
    made = record()
    before = (made.pixels, made.pixel_sum, made.histograms)
    made.count(1, 2, stored(level=200))
    assert made.class_counts == {1: 2}
    assert (made.pixels, made.pixel_sum, made.histograms) == before


@pytest.mark.parametrize(("value", "place"), [(31, 0), (32, 1), (63, 1), (64, 2), (4095, 13), (4096, 14), (60000, 14)])
def test_a_histogram_counts_from_each_edge_up_to_the_next(value, place):
    made = FileRecord("a")
    made.count(0, 0, stored(source=(value, 32)))
    found = histograms([made, FileRecord("of rejects only")])["source height"]
    assert [index for index, count in enumerate(found.counts) if count] == [place]
    assert found.edges == HISTOGRAM_EDGES["source height"]


def test_statistics_do_not_depend_on_how_images_are_spread_over_files():
    levels = np.random.default_rng(0).integers(0, 256, 12)
    together, apart = FileRecord("a"), [FileRecord(f"{number}") for number in range(12)]
    for level, alone in zip(levels, apart, strict=True):
        together.count(0, 0, stored(level=int(level)))
        alone.count(0, 0, stored(level=int(level)))
    assert statistics([together]) == statistics(apart)
    assert statistics(apart).mean[0] == pytest.approx(levels.mean() / 255, abs=1e-9)
    assert statistics(apart).std[0] == pytest.approx(levels.std() / 255, abs=1e-9)


def test_a_split_lists_files_with_rows_and_counts_all_classes():
    split = split_of([record(), FileRecord("train/part-00001.parquet")], 3)
    assert [file.path for file in split.files] == ["train/part-00000.parquet"]
    assert split.class_counts == (0, 1, 0)


def test_rejects_come_by_key():
    first, second = FileRecord("a"), FileRecord("b")
    first.reject("z", "z", Reject("empty", "0 bytes"))
    second.reject("a", "a", Reject("empty", "0 bytes"))
    assert [reject["key"] for reject in rejects_of([first, second])] == ["a", "z"]


# --- the journal --------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    return Location.at(tmp_path / "journal")


def test_the_journal_gives_back_all_committed_records_by_path(folder):
    waves = [[record("b"), record("a")], [record("c")]]
    for wave in waves:
        Journal(folder).commit(wave)
    assert Journal(folder).read() == [record("a"), record("b"), record("c")]


def test_a_wave_that_a_killed_job_left_unfinished_is_passed_over(folder):
    Journal(folder).commit([record("a")])
    (folder / ".wave-00001.jsonl.ab.tmp").write_bytes(b"")
    (folder / "wave-00001.jsonl.ab.tmp").write_bytes(b"")
    assert Journal(folder).read() == [record("a")]


def test_an_empty_journal_holds_nothing(folder):
    assert Journal(folder).read() == []


def test_a_later_wave_replaces_what_an_earlier_one_said_of_a_file(folder):
    Journal(folder).commit([record("a")])
    again = record("a")
    again.sha256 = "other"
    Journal(folder).commit([again])
    assert Journal(folder).read() == [again]


def test_waves_of_other_encoders_do_not_count(folder, monkeypatch):
    monkeypatch.setattr("pipelines.preprocess.records.version", lambda name: "another")
    Journal(folder).commit([record("a")])
    monkeypatch.undo()
    assert Journal(folder).read() == []
    Journal(folder).commit([record("b")])
    assert Journal(folder).read() == [record("b")]
