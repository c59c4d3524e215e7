"""The header walker against Python's tarfile, which reads the same formats slowly."""

import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.config import InputError
from pipelines.dataset.storage import Location
from pipelines.preprocess.sources.tar import Window, members, reading
from tests.pipelines.preprocess.sources.builders import tar_of

FORMS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.CONTTYPE: "file",
    tarfile.DIRTYPE: "folder",
    tarfile.SYMTYPE: "link",
    tarfile.LNKTYPE: "link",
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
    tarfile.FIFOTYPE: "device",
}


def walked(content, start=0, size_bytes=None):
    def read(size, offset):
        return content[offset : offset + size]

    return list(members(read, "x.tar", start, len(content) if size_bytes is None else size_bytes))


def by_tarfile(content):
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return [(member.name, KINDS[member.type], member.offset_data, member.size) for member in tar]


letters = st.characters(codec="utf-8", exclude_characters="\0/", exclude_categories=["Cs"])
parts = st.text(letters, min_size=1, max_size=60).filter(lambda part: part not in (".", ".."))
names = st.lists(parts, min_size=1, max_size=5).map("/".join)
entries = st.tuples(names, st.sampled_from([*KINDS]), st.integers(0, 2000))


@pytest.mark.parametrize("form", FORMS)
@settings(deadline=None)  # other processes may take the time
@given(found=st.lists(entries, max_size=6))
def test_the_walker_tells_of_every_tar_what_tarfile_tells(form, found):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=FORMS[form]) as tar:
        for name, kind, size in found:
            member = tarfile.TarInfo(name)
            member.type = kind
            is_file = KINDS[kind] == "file"
            member.size = size if is_file else 0
            member.linkname = "elsewhere/" * (size // 100) if KINDS[kind] == "link" else ""
            try:
                tar.addfile(member, io.BytesIO(bytes(size)) if is_file else None)
            except ValueError:  # USTAR has no room for long names
                continue
    assert [tuple(member) for member in walked(content.getvalue())] == by_tarfile(content.getvalue())


LENGTHS = [(form, length) for form in FORMS for length in (99, 100, 101, 155, 200)]


@pytest.mark.parametrize(("form", "length"), [*LENGTHS, ("gnu", 300), ("pax", 300)])
def test_names_of_any_length_are_whole(form, length):
    name = ("d" * 60 + "/" + "e" * 60 + "/" + "f" * 200)[:length]
    content = tar_of({name: b"image", "after.jpg": b""}, FORMS[form])
    assert [member.name for member in walked(content)] == [name, "after.jpg"]


@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_sizes_above_8_gib_are_read(form):
    # Only the headers are there: the file is sparse to the walker, which reads nothing else.
    big = tarfile.TarInfo("big.jpg")
    big.size = 9 << 30
    head, tail = big.tobuf(FORMS[form]), tarfile.TarInfo("small.jpg").tobuf(FORMS[form]) + bytes(1024)
    after = len(head) + big.size

    def read(size, offset):
        return head[offset : offset + size] if offset < len(head) else tail[offset - after : offset - after + size]

    found = list(members(read, "x.tar", 0, after + len(tail)))
    assert [tuple(member) for member in found] == [
        ("big.jpg", "file", len(head), 9 << 30),
        ("small.jpg", "file", after + 512, 0),
    ]


def test_a_tar_inside_a_tar_is_walked_by_its_range():
    outer = tar_of({"a.tar": tar_of({"1.jpg": b"one"}), "b.tar": tar_of({"2.jpg": b"two", "3.jpg": b"three"})})
    inner = [walked(outer, member.offset, member.size_bytes) for member in walked(outer)]
    assert [[member.name for member in found] for found in inner] == [["1.jpg"], ["2.jpg", "3.jpg"]]
    three = inner[1][1]
    assert outer[three.offset : three.offset + three.size_bytes] == b"three"


def test_global_pax_headers_hold_for_all_members_and_local_ones_for_one():
    def pax(kind, records):
        return tarfile.TarInfo._create_pax_generic_header(records, kind, "utf-8")

    plain = tarfile.TarInfo("plain.jpg").tobuf(tarfile.USTAR_FORMAT)
    content = pax(b"g", {"path": "all.jpg"}) + plain + pax(b"x", {"path": "one.jpg"}) + plain + plain + bytes(1024)
    assert [member.name for member in walked(content)] == ["all.jpg", "one.jpg", "all.jpg"]


def test_folders_of_tars_before_posix_are_told_by_their_slash():
    old = tarfile.TarInfo("folder.jpg")
    old.type = tarfile.AREGTYPE
    header = bytearray(old.tobuf(tarfile.USTAR_FORMAT))
    header[10] = ord("/")
    with_checksum(header)
    content = bytes(header) + bytes(1024)
    assert [tuple(member) for member in walked(content)] == by_tarfile(content) == [("folder.jpg", "folder", 512, 0)]


def test_sparse_files_are_told_from_files():
    sparse = bytearray(tarfile.TarInfo("holes.jpg").tobuf(tarfile.USTAR_FORMAT))
    sparse[156:157] = b"S"
    sparse[482] = 1  # one more block of the map follows
    further = bytes(512)
    with_checksum(sparse)
    content = bytes(sparse) + further + tarfile.TarInfo("next.jpg").tobuf(tarfile.USTAR_FORMAT) + bytes(1024)
    assert [(member.name, member.kind) for member in walked(content)] == [
        ("holes.jpg", "sparse file"),
        ("next.jpg", "file"),
    ]


def test_times_where_gnu_has_no_prefix_are_not_taken_for_one():
    header = bytearray(tarfile.TarInfo("1.jpg").tobuf(tarfile.GNU_FORMAT))
    header[345:357] = b"14710301234 "
    with_checksum(header)
    assert [member.name for member in walked(bytes(header) + bytes(1024))] == ["1.jpg"]


def with_checksum(header, signed=False):
    header[148:156] = b" " * 8
    total = sum(byte - 256 if signed and byte > 127 else byte for byte in header)
    header[148:156] = b"%06o\0 " % total


def test_checksums_of_signed_bytes_are_taken():
    header = bytearray(tarfile.TarInfo("é.jpg").tobuf(tarfile.USTAR_FORMAT, "utf-8"))
    with_checksum(header, signed=True)
    assert [member.name for member in walked(bytes(header) + bytes(1024))] == ["é.jpg"]


def test_a_name_that_is_not_utf_8_can_still_be_told():
    header = bytearray(tarfile.TarInfo("e.jpg").tobuf(tarfile.USTAR_FORMAT))
    header[0] = 0xE9
    with_checksum(header)
    assert [member.name for member in walked(bytes(header) + bytes(1024))] == ["\\xe9.jpg"]


@pytest.mark.parametrize("byte", [0, 120, 124, 147, 148, 156, 256, 345, 511])
def test_a_damaged_header_is_named_with_its_byte(byte):
    content = bytearray(tar_of({"1.jpg": bytes(700), "2.jpg": b""}))
    content[3 * 512 + byte] ^= 0x40
    with pytest.raises(InputError, match=r"x\.tar: the header at byte 1536 is damaged"):
        walked(bytes(content))


@pytest.mark.parametrize(
    ("length", "byte"), [(0, 0), (100, 0), (512, 512), (1000, 1000), (1536, 1536), (1600, 1536), (2048, 2048)]
)
def test_a_tar_that_ends_early_is_named_with_the_byte(length, byte):
    content = tar_of({"1.jpg": bytes(700), "2.jpg": b""})[:length]
    with pytest.raises(InputError, match=rf"x\.tar: ends at byte {byte}\b.*; copy it again"):
        walked(content)


def test_a_tar_that_ends_inside_a_member_says_where_the_member_would_end():
    with pytest.raises(InputError, match=r"x\.tar: ends at byte 1000, but a member goes on to byte 1212"):
        walked(tar_of({"1.jpg": bytes(700)})[:1000])


def test_an_inner_tar_ends_where_its_range_does_whatever_follows():
    content = tar_of({"1.jpg": b"one", "2.jpg": b"two"})
    with pytest.raises(InputError, match=r"x\.tar: ends at byte 1024 without a tar's end mark"):
        walked(content, 0, 1024)


@pytest.mark.parametrize("records", [b"12 path=abc", b"x path=abc\n", b"11 pathabc\n", b"9 size=x\n", b"99 path=a\n"])
def test_a_malformed_pax_header_is_damage(records):
    head = tarfile.TarInfo("pax")
    head.type, head.size = b"x", len(records)
    content = head.tobuf(tarfile.USTAR_FORMAT) + records.ljust(512, b"\0") + tarfile.TarInfo("1.jpg").tobuf()
    with pytest.raises(InputError, match=r"header at byte \d+ is damaged"):
        walked(content + bytes(1024))


def test_a_name_announced_before_the_end_is_damage():
    content = tar_of({"d" * 120: b""}, tarfile.GNU_FORMAT)
    with pytest.raises(InputError, match="a header is announced, but the tar ends"):
        walked(content[:1024] + bytes(1024))


def test_an_announced_name_of_gigabytes_is_damage_and_not_read():
    head = tarfile.TarInfo("././@LongLink")
    head.type, head.size = b"L", 3 << 30
    content = head.tobuf(tarfile.GNU_FORMAT)

    def read(size, offset):
        assert size <= 1 << 20
        return content[offset : offset + size]

    with pytest.raises(InputError, match="its name would take 3221225472 bytes"):
        list(members(read, "x.tar", 0, 4 << 30))


@pytest.mark.attack
@pytest.mark.parametrize(
    ("name", "kind", "fault"),
    [
        ("a/1.jpg", tarfile.REGTYPE, None),
        ("a", tarfile.DIRTYPE, None),
        ("a/..1.jpg", tarfile.REGTYPE, None),
        ("/etc/1.jpg", tarfile.REGTYPE, "its name leads out of the tar"),
        ("a/../../1.jpg", tarfile.REGTYPE, "its name leads out of the tar"),
        ("1.jpg", tarfile.SYMTYPE, "it is no file but a link"),
        ("1.jpg", tarfile.FIFOTYPE, "it is no file but a device"),
    ],
)
def test_what_must_not_be_read_as_a_file_says_why(name, kind, fault):
    member = tarfile.TarInfo(name)
    member.type = kind
    (found,) = walked(member.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    assert found.fault == fault


def test_a_local_tar_is_read_like_its_bytes(tmp_path):
    content = tar_of({"1.jpg": bytes(700), "2.jpg": b"two"})
    (tmp_path / "x.tar").write_bytes(content)
    with reading(Location.at(tmp_path / "x.tar")) as read:
        assert list(members(read, "x.tar", 0, len(content))) == walked(content)


def test_a_window_asks_the_store_once_for_what_lies_together():
    content = tar_of({f"{number}.jpg": b"small" for number in range(20)})
    asked = []

    def read(size, offset):
        asked.append(offset)
        return content[offset : offset + size]

    assert list(members(Window(read), "x.tar", 0, len(content))) == walked(content)
    assert len(asked) == 2  # 20 x 1 kB of headers and content in windows of 16 kB
