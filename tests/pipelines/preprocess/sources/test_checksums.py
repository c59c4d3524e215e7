import hashlib

import pytest

from pipelines.config import InputError
from pipelines.dataset.storage import Location
from pipelines.preprocess.sources.checksums import check_md5

CONTENT = {"a.tar": b"first", "b.tar": b"second"}
PUBLISHED = {name: hashlib.md5(content).hexdigest() for name, content in CONTENT.items()}


@pytest.fixture
def root(tmp_path):
    for name, content in CONTENT.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_published_files_pass(root):
    check_md5(Location.at(root), PUBLISHED)


def test_another_file_is_named_with_both_checksums(root):
    (root / "b.tar").write_bytes(b"altered")
    found = hashlib.md5(b"altered").hexdigest()
    with pytest.raises(InputError, match=rf"b\.tar: md5 is {found}, but {PUBLISHED['b.tar']} was published"):
        check_md5(Location.at(root), PUBLISHED)


def test_a_file_that_is_not_there_is_said_not_to_be_checked(root, capsys):
    (root / "b.tar").unlink()
    check_md5(Location.at(root), PUBLISHED)
    assert "b.tar is not in" in capsys.readouterr().out


def test_none_of_the_files_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"has none of a\.tar, b\.tar"):
        check_md5(Location.at(tmp_path), PUBLISHED)
