import errno
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipelines.config import AugmentSettings, ImageSettings, InputError
from pipelines.dataset.storage import Location
from pipelines.images.codec import encode
from pipelines.preprocess.records import Journal
from pipelines.preprocess.sources.listing import WHOLE_FILE, Item, table_of
from pipelines.preprocess.variants import Variants
from pipelines.preprocess.waves import Waves, cut
from pipelines.preprocess.write import WriteFiles

IMAGES = 20
PNG = [encode(np.full((8, 8, 3), number, np.uint8), "png", 90) for number in range(IMAGES)]
ITEMS = table_of(Item(f"key{n:02d}", "file", n, WHOLE_FILE, n % 3, None) for n in range(IMAGES))


@dataclass(frozen=True)
class Source:
    """What a test's reader does, told by files, since it runs in other processes."""

    folder: Path

    def reader(self):
        folder, images = self.folder, PNG

        def read(file, offset, length):
            with (folder / "reads").open("a") as log:
                log.write(f"{offset}\n")
            failing = folder / f"fail{offset}"
            if failing.exists():
                number, times = map(int, failing.read_text().split())
                failing.write_text(f"{number} {times - 1}")
                if times:
                    raise OSError(number, "made to fail")
            return images[offset]

        return read

    def fail(self, offset, number=errno.EIO, times=99):
        (self.folder / f"fail{offset}").write_text(f"{number} {times}")

    def mend(self):
        for path in self.folder.glob("fail*"):
            path.unlink()

    def reads(self):
        """Numbers of the images read since this was last asked."""
        log = self.folder / "reads"
        numbers = sorted(map(int, log.read_text().split())) if log.exists() else []
        log.unlink(missing_ok=True)
        return numbers


@pytest.fixture
def source(tmp_path):
    (tmp_path / "source").mkdir()
    return Source(tmp_path / "source")


@pytest.fixture
def write(spark, tmp_path, source):
    """Writes 20 images in five files, two files a wave."""
    folder = Location.at(tmp_path / "version")

    def write(check=lambda records: None, kind=WriteFiles, augment=None, numbers=(0,), **changes):
        variants = Variants(ImageSettings(format="png", resize="none"), AugmentSettings(**(augment or {})), 0)
        writer = kind(
            **(
                {
                    "folder": folder,
                    "variants": variants,
                    "rows_per_group": 3,
                    "read": source.reader(),
                    "root": "root",
                    "in_file_order": False,
                }
                | changes
            )
        )
        tasks = list(cut("train/part", ITEMS, numbers, 4))
        return Waves(spark, Journal(folder / "journal"), check, 2).write(tasks, writer)

    write.folder = Path(folder.path)
    return write


def rows(write):
    return [row for path in sorted(write.folder.glob("train/*.parquet")) for row in pq.read_table(path).to_pylist()]


def test_every_item_is_written_once_in_its_order(write, source):
    records = write()
    assert [record.path for record in records] == [f"train/part-{number:05d}.parquet" for number in range(5)]
    assert [record.row_groups for record in records] == [[3, 1]] * 5
    assert [row["key"] for row in rows(write)] == ITEMS.column("key").to_pylist()
    assert source.reads() == list(range(IMAGES))


def test_a_second_call_writes_nothing_and_says_the_same(write, source):
    first = write()
    source.reads()
    assert write() == first
    assert source.reads() == []


def test_a_wave_that_was_committed_is_not_done_again(write, source):
    def stop(records):
        if len(records) == 4:
            raise InputError("stop")

    with pytest.raises(InputError, match="stop"):
        write(check=stop)
    assert source.reads() == list(range(16))
    assert len(write()) == 5
    assert source.reads() == [16, 17, 18, 19]


def test_a_file_that_is_gone_or_has_another_size_is_written_again(write, source):
    first = write()
    source.reads()
    (write.folder / first[1].path).unlink()
    (write.folder / first[3].path).write_bytes(b"half")
    assert write() == first
    assert source.reads() == [4, 5, 6, 7, 12, 13, 14, 15]


def test_the_check_sees_all_records_after_every_wave(write):
    seen = []
    write(check=lambda records: seen.append(len(records)))
    assert seen == [2, 4, 5]


def test_a_source_that_fails_for_a_moment_costs_nothing_but_time(write, source):
    source.fail(5, times=2)
    assert [record.row_groups for record in write()] == [[3, 1]] * 5
    assert source.reads().count(5) == 3


def test_a_source_that_keeps_failing_ends_the_job_and_leaves_what_is_done(write, source):
    source.fail(9)
    with pytest.raises(InputError, match=r"1 files could not be written, the first .*-00002.*made to fail.*the same"):
        write()
    source.mend()
    source.reads()
    assert len(write()) == 5
    assert source.reads() == [8, 9, 10, 11, 16, 17, 18, 19]  # the other file of its wave was kept


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_at_once(write, source, number):
    source.fail(0, number)
    with pytest.raises(InputError, match=r"no room left to write .*00000\.parquet .*Make room, then give the same"):
        write()
    assert source.reads().count(0) == 1


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES])
def test_a_file_of_its_own_that_cannot_be_read_is_a_reject(write, source, number):
    source.fail(6, number)
    records = write()
    assert [reject for record in records for reject in record.rejects] == [
        {
            "key": "key06",
            "uri": "root/file",
            "reason": "unreadable",
            "detail": f"{'FileNotFoundError' if number == errno.ENOENT else 'PermissionError'}: "
            f"[Errno {number}] made to fail",
        }
    ]
    assert sum(map(sum, (record.row_groups for record in records))) == IMAGES - 1


def test_executors_that_write_where_the_driver_does_not_look_are_noticed(write):
    class Elsewhere(WriteFiles):
        def write_file(self, path, numbers, items):
            record = super().write_file(path, numbers, items)
            (self.folder / path).remove()
            return record

    with pytest.raises(InputError, match=r"must be on storage that all machines share"):
        write(kind=Elsewhere)


def test_executors_that_lack_a_package_are_told_what_brings_it(write):
    class Lacking(WriteFiles):
        def write_file(self, path, numbers, items):
            import no_such_package  # type: ignore[import-not-found]

            return no_such_package

    with pytest.raises(InputError, match="executors' Python has no package no_such_package: `make dist` packs"):
        write(kind=Lacking)


def test_a_step_that_does_not_fit_ends_the_job_naming_the_image(write):
    with pytest.raises(InputError, match=r"augment\.steps, image key\d\d: crop of 99 pixels"):
        write(augment={"variants": 1, "steps": ({"kind": "centre_crop", "size": 99},)}, numbers=(0, 1))


def test_variants_of_an_image_share_a_file_in_a_seeded_order_and_cost_one_reading(write, source):
    augment = {"variants": 1, "steps": ({"kind": "random_flip"},)}
    records = write(augment=augment, numbers=(0, 1))
    assert len(records) == 10
    assert source.reads() == list(range(IMAGES))
    in_file = [
        [(row["key"], row["variant"]) for row in pq.read_table(write.folder / r.path).to_pylist()] for r in records
    ]
    assert all(len({key for key, _ in pairs}) == 2 and len(set(pairs)) == 4 for pairs in in_file)
    assert len({tuple(variant for _, variant in pairs) for pairs in in_file}) > 2


def test_a_source_that_wants_it_is_read_in_ascending_order_and_written_shuffled(write, source):
    records = write(in_file_order=True)
    first = pq.read_table(write.folder / records[0].path)["key"].to_pylist()
    assert sorted(first) == ["key00", "key01", "key02", "key03"]
    assert (source.folder / "reads").read_text().split()[:2] in (["0", "1"], ["0", "4"], ["4", "0"], ["4", "5"])
    orders = [pq.read_table(write.folder / record.path)["key"].to_pylist() for record in records]
    assert any(keys != sorted(keys) for keys in orders)
