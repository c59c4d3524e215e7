import random
import resource
import subprocess
import sys
import time
from zlib import crc32

import pytest

from pipelines.config import InputError
from pipelines.tracking.journal import Journal, read, read_durable


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "journal.jsonl"


def trees(path):
    return [line.tree for line in read(path)]


def test_what_was_appended_is_read_in_order_from_anywhere(path):
    journal = Journal(path)
    for number in range(3):
        journal.append({"number": number})
    lines = list(read(path))
    assert [line.tree["number"] for line in lines] == [0, 1, 2]
    assert [line.tree["number"] for line in read(path, lines[1].end)] == [2]
    assert lines[-1].end == path.stat().st_size


def test_an_entry_that_was_cut_off_is_not_there_and_the_next_one_is_whole(path):
    journal = Journal(path)
    journal.append({"number": 0})
    journal.append({"number": 1})
    journal.close()
    path.write_bytes(path.read_bytes()[:-5])
    assert trees(path) == [{"number": 0}]
    journal = Journal(path)
    journal.append({"number": 2})
    assert trees(path) == [{"number": 0}, {"number": 2}]


def test_a_damaged_entry_is_seen_and_those_behind_it_are_read(path):
    journal = Journal(path)
    journal.append({"colour": "blue"})
    journal.append({"colour": "red"})
    path.write_bytes(path.read_bytes().replace(b"blue", b"bluf"))
    assert trees(path) == [None, {"colour": "red"}]


@pytest.mark.attack
def test_a_planted_entry_of_brackets_in_brackets_is_one_that_is_damaged(path):
    journal = Journal(path)
    text = b"[" * 100_000
    path.write_bytes(b"%08x %s\n" % (crc32(text), text))
    journal.append({"colour": "red"})
    assert trees(path) == [None, {"colour": "red"}]


def test_a_journal_has_one_writer(path):
    journal = Journal(path)
    with pytest.raises(InputError, match="another process is at it"):
        Journal(path, wait_s=0.1)
    journal.close()
    Journal(path, wait_s=0.1)


def test_a_full_disk_is_named_and_leaves_whole_entries(path):
    journal = Journal(path)
    journal.append({"number": 0})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, limits[1]))
    try:
        with pytest.raises(InputError, match=r"journal\.jsonl: cannot be written"):
            journal.append({"number": 1})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    journal.append({"number": 2})
    assert trees(path) == [{"number": 0}, {"number": 2}]


def test_what_is_sent_is_on_the_disk_before(path):
    journal = Journal(path)
    journal.append({"number": 0})
    lines = read_durable(path, 0)
    assert next(lines).tree == {"number": 0}
    journal.append({"number": 1})
    assert list(lines) == []


WRITER = """
import sys
from itertools import count
from pathlib import Path
from pipelines.tracking.journal import Journal, read, read_durable
path = Path(sys.argv[1])
journal = Journal(path)
for number in count(sum(1 for _ in read(path))):
    journal.append({"number": number, "padding": "x" * 9000})
"""


@pytest.mark.processes
def test_a_writer_that_is_killed_at_any_moment_leaves_whole_entries_and_the_next_goes_on_behind_them(path):
    for _ in range(5):
        before = path.stat().st_size if path.exists() else 0
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)])
        while not path.exists() or path.stat().st_size == before:
            assert writer.poll() is None
        time.sleep(random.uniform(0, 0.02))
        writer.kill()
        writer.wait()
    Journal(path).close()
    numbers = [tree["number"] for tree in trees(path)]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= 5
