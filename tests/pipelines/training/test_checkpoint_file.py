import io
import pickle
import struct
from zipfile import ZipFile

import pytest

from pipelines.config import InputError
from pipelines.training.checkpoint import Checkpoint
from tests.hostile import answers_and_growth, by_torch, members_of
from tests.pipelines.training.test_checkpoint import checkpoint


def with_pickle(pickled):
    return by_torch(members_of(checkpoint().to_bytes()) | {"data.pkl": pickled})


def altered(before, after):
    pickled = members_of(checkpoint().to_bytes())["data.pkl"]
    assert before in pickled
    return with_pickle(pickled.replace(before, after, 1))


def refusal(content):
    with pytest.raises(InputError, match="it: damaged, or not a checkpoint of ours") as caught:
        Checkpoint.from_bytes(content, "it")
    return str(caught.value)


def test_an_archive_of_torchs_with_the_same_members_is_read():
    content = by_torch(members_of(checkpoint().to_bytes()))
    assert Checkpoint.from_bytes(content, "it").epoch == 1


MANY = b"J" + struct.pack("<i", 256 << 20)
"""Bytes that a payload asks for."""

BUILT = {
    "bytearray": b"\x80\x02cbuiltins\nbytearray\n" + MANY + b"\x85R.",
    "bytearray by a memo": b"\x80\x02cbuiltins\nbytearray\nq\x000h\x00" + MANY + b"\x85R.",
    "bytearray within": b"\x80\x02}X\x05\x00\x00\x00epochcbuiltins\nbytearray\n" + MANY + b"\x85Rs.",
    "bytearray by an older protocol": b"(cbuiltins\nbytearray\n" + MANY + b"tR.",
    "a tensor's own memory": b"\x80\x02ctorch\nTensor\n" + MANY + b"\x85R.",
}


@pytest.mark.attack
@pytest.mark.parametrize("name", BUILT)
def test_a_pickle_that_names_what_no_checkpoint_has_is_refused(name):
    assert "its pickle names " in refusal(with_pickle(BUILT[name]))


@pytest.mark.attack
@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x04\x8c\x08builtins\x8c\x09bytearray\x93" + MANY + b"\x85R.",  # STACK_GLOBAL
        b"\x80\x02(" + MANY + b"ibuiltins\nbytearray\n.",  # INST
        b"\x80\x02\x82\x01.",  # EXT1
    ],
)
def test_a_pickle_that_names_something_in_another_way_is_refused(pickled):
    assert "its pickle names something by" in refusal(with_pickle(pickled))


@pytest.mark.attack
def test_a_checkpoint_of_a_few_bytes_takes_no_memory():
    prepare = (
        "from pipelines.config import InputError\n"
        "from pipelines.training.checkpoint import Checkpoint\n"
        "def answer(content):\n"
        "    try: return str(Checkpoint.from_bytes(content, 'it').epoch)\n"
        "    except InputError as error: return str(error)\n"
    )
    payloads = [with_pickle(pickled) for pickled in BUILT.values()]
    answers, grown_kib = answers_and_growth(prepare, "answer(bytes.fromhex(line))", payloads)
    assert ["its pickle names" in answer for answer in answers] == [True] * len(BUILT)
    assert grown_kib < 50_000


@pytest.mark.attack
def test_a_tensor_of_more_values_than_the_file_has_is_refused():
    shape, huge = (
        b"K\x02K\x03\x86q\x0fK\x03K\x01\x86",
        b"J" + struct.pack("<i", 1 << 30) + b"K\x01\x86q\x0fK\x00K\x00\x86",
    )
    assert "a tensor of 1,073,741,824 values that are not all in the file" in refusal(altered(shape, huge))


@pytest.mark.attack
def test_branches_that_are_met_again_and_again_cost_no_time():
    doubled = b"]q\x00" + b"".join(b"](h%ch%ce" % (n, n) + b"q%c" % (n + 1) for n in range(100))
    assert "must be a mapping" in refusal(with_pickle(b"\x80\x02" + doubled + b"."))


# --- archives that zipfile and torch read differently -------------------------------------------


def with_members(changes):
    return by_torch(members_of(checkpoint().to_bytes()) | changes)


@pytest.mark.attack
@pytest.mark.parametrize("name", ["DATA.PKL", "constants.pkl", "code/x.py", "data/../data.pkl"])
def test_members_that_torch_does_not_write_are_refused(name):
    assert f"it has 'archive/{name}', which torch does not write" in refusal(with_members({name: b"x"}))


@pytest.mark.attack
def test_two_members_of_one_name_are_refused():
    file = io.BytesIO(checkpoint().to_bytes())
    with ZipFile(file, "a") as archive:
        archive.writestr("other/data.pkl", b"\x80\x02}.")
    assert "two members of one name" in refusal(file.getvalue())


@pytest.mark.attack
def test_members_that_share_their_bytes_are_refused():
    content = bytearray(with_members({"data/90": bytes(100_000), "data/91": bytes(1)}))
    with ZipFile(io.BytesIO(content)) as archive:
        large = archive.getinfo("archive/data/90")
    entry = content.rindex(b"archive/data/91") - 46
    content[entry + 16 : entry + 28] = struct.pack("<III", large.CRC, large.file_size, large.file_size)
    assert "its members overlap" in refusal(bytes(content))


@pytest.mark.attack
def test_another_file_before_or_behind_the_archive_is_refused():
    content, other = checkpoint().to_bytes(), pickle.dumps({"epoch": 1}, 2)
    for both in (other + content, content + other, content[:-2] + struct.pack("<H", len(other)) + other):
        refusal(both)


@pytest.mark.attack
def test_a_directory_that_lies_elsewhere_than_the_archives_end_says_is_refused():
    content = bytearray(checkpoint().to_bytes())
    start = struct.unpack("<Q", content[-50:-42])[0]
    hidden = bytes(content[start:-98])  # a directory for torch, among the members; zipfile's is the one at the end
    moved = bytes(content[:start]) + hidden + hidden + bytes(content[-98:])
    record_at = len(moved) - 98
    moved = moved[:-34] + struct.pack("<Q", record_at) + moved[-26:]
    assert "its start or its end is not as torch writes it" in refusal(moved)
