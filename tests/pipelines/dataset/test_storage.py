import errno
import os
import pickle
import resource

import pytest

from pipelines.config import InputError
from pipelines.dataset.storage import Location


@pytest.fixture(params=["local", "s3"])
def folder(request, tmp_path):
    """An empty place of each kind, as users would type it."""
    if request.param == "local":
        return Location.at(tmp_path / "with blank")
    return request.getfixturevalue("bucket") / "with blank"


def test_what_is_written_can_be_read_listed_and_removed(folder):
    (folder / "a" / "one").write_bytes(b"1")
    (folder / "a" / "b" / "two").write_bytes(b"22")
    (folder / "a" / "one").write_bytes(b"111")
    assert (folder / "a" / "one").read_bytes() == b"111"
    assert (folder / "a" / "one").size_bytes == 3
    assert (folder / "a").is_folder()
    assert [info.base_name for info in (folder / "a").files()] == ["one"]
    assert [info.base_name for info in folder.files(below=True)] == ["two", "one"]
    assert (folder / "a").folders() == ["b"]
    with (folder / "a" / "b" / "two").open() as file:
        assert file.read_at(1, 1) == b"2"
    (folder / "a").remove()
    assert folder.files(below=True) == []


def test_bytes_are_kept_whatever_the_name(folder):
    (folder / "numbers.gz").write_bytes(b"content")
    assert (folder / "numbers.gz").read_bytes() == b"content"


def test_large_files_arrive_whole(bucket):
    content = os.urandom(12 << 20)  # a store takes this in several parts
    (bucket / "file").write_bytes(content)
    assert (bucket / "file").read_bytes() == content


def test_what_is_not_there_has_no_size_and_cannot_be_read(folder):
    assert (folder / "nothing").size_bytes is None
    assert (folder / "nothing").files() == []
    assert (folder / "nothing").folders() == []
    with pytest.raises(FileNotFoundError):
        (folder / "nothing").read_bytes()
    (folder / "nothing").remove()


def write_half(location):
    with location.writing() as path:
        path.write_bytes(b"half")
        raise RuntimeError


def write_none(location):
    with location.writing():
        pass


def test_a_write_that_fails_leaves_what_was_there(folder):
    (folder / "file").write_bytes(b"before")
    with pytest.raises(RuntimeError):
        write_half(folder / "file")
    write_none(folder / "file")
    assert (folder / "file").read_bytes() == b"before"
    assert [info.base_name for info in folder.files()] == ["file"]


def test_a_location_travels_and_keeps_its_name(folder):
    (folder / "file").write_bytes(b"content")
    travelled = pickle.loads(pickle.dumps(folder / "file"))
    assert travelled == folder / "file"
    assert travelled.read_bytes() == b"content"
    assert (travelled.name, travelled.parent) == ("file", folder)
    assert Location.at(str(folder / "file")).read_bytes() == b"content"


def test_an_endpoint_can_be_part_of_the_address(bucket, monkeypatch):
    (bucket / "folder" / "file").write_bytes(b"content")
    endpoint = os.environ["AWS_ENDPOINT_URL"].replace("://", "%3A%2F%2F")
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    address = f"s3://{bucket.path}/folder?endpoint_override={endpoint}&region=us-east-1"
    location = Location.at(address)
    assert (location / "file").read_bytes() == b"content"
    assert str(location) == address
    assert location.name == "folder"


def test_a_store_that_does_not_answer_is_an_error_that_names_the_file():
    silent = Location.at("s3://bucket/file?endpoint_override=http%3A%2F%2F127.0.0.1%3A9&region=us-east-1")
    with pytest.raises(OSError, match="NETWORK_CONNECTION") as caught:
        silent.read_bytes()
    assert caught.value.filename == str(silent)


def test_a_file_that_is_not_there_is_named(folder):
    with pytest.raises(FileNotFoundError) as caught:
        (folder / "nothing").read_bytes()
    assert caught.value.filename == str(folder / "nothing")


def test_credentials_do_not_travel(bucket):
    assert os.environ["AWS_SECRET_ACCESS_KEY"].encode() not in pickle.dumps(bucket)


def test_relative_and_file_addresses_are_local(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Location.at("a/../b").path == str(tmp_path / "b")
    assert Location.at(f"file://{tmp_path}/c/") == Location.at(tmp_path / "c")


@pytest.mark.parametrize("address", ["ftp://host/path", "http://host/path", "S3://bucket"])
def test_an_unknown_kind_of_storage_is_refused(address):
    with pytest.raises(InputError, match="no such kind of storage; known are local paths, hdfs"):
        Location.at(address)


def test_hadoop_without_its_library_says_so():
    with pytest.raises(InputError, match=r"hdfs://host:1/path: hdfs is not reachable from here"):
        Location.at("hdfs://host:1/path")


def test_a_full_disk_is_an_os_error_that_says_so(tmp_path):
    location = Location.at(tmp_path / "file")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    try:
        with pytest.raises(OSError) as caught:
            location.write_bytes(b"x" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert caught.value.errno == errno.EFBIG  # what the kernel says at this limit
    assert list(tmp_path.iterdir()) == []
