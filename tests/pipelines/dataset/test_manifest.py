import json
import shutil
from dataclasses import replace

import pytest

from pipelines.config import InputError
from pipelines.dataset.manifest import FILE_NAME, find_damage, read_manifest, write_manifest


def test_a_manifest_reads_back_as_it_was_written(digits, tmp_path):
    write_manifest(digits.manifest, tmp_path)
    assert read_manifest(tmp_path) == digits.manifest
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_it_is_json_that_other_programs_read(digits):
    tree = json.loads((digits.root / FILE_NAME).read_text())
    assert tree["classes"][3] == {"index": 3, "words": "3", "wnid": None, "ilsvrc_id": None}
    assert tree["splits"]["train"]["files"][0]["row_groups"][0] == 64


def test_a_folder_without_a_manifest_is_no_dataset(tmp_path):
    with pytest.raises(InputError, match="no dataset here"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"format_version": 1}'])
def test_a_damaged_manifest_is_named(tmp_path, text):
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(InputError, match=r"manifest\.json: not a manifest of format 3"):
        read_manifest(tmp_path)


def test_an_interrupted_write_leaves_the_manifest_before(digits, tmp_path, monkeypatch):
    write_manifest(digits.manifest, tmp_path)

    def power_cut(descriptor):
        raise OSError("power cut")

    monkeypatch.setattr("os.fsync", power_cut)
    with pytest.raises(OSError, match="power cut"):
        write_manifest(digits.manifest.model_copy(update={"digest": "another"}), tmp_path)
    assert read_manifest(tmp_path) == digits.manifest


@pytest.mark.attack
def test_damage_to_any_file_is_found(digits, tmp_path):
    copy = replace(digits, root=shutil.copytree(digits.root, tmp_path / "copy"))
    assert find_damage(copy.manifest, copy.root) == {}
    name = copy.manifest.splits["val"].files[-1].path
    path = copy.root / copy.manifest.version / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert find_damage(copy.manifest, copy.root) == {name: f"{path} was altered"}
    path.unlink()
    assert find_damage(copy.manifest, copy.root) == {name: f"{path} is missing"}


@pytest.mark.attack
@pytest.mark.parametrize(
    "name", ["../outside", "/etc/passwd", "train/../../outside", "train/./x", "train//x", "..", ""]
)
def test_a_manifest_names_no_file_outside_of_its_dataset(digits, tmp_path, name):
    tree = json.loads((digits.root / FILE_NAME).read_text())
    for place in (tree["splits"]["val"]["files"][0], tree):
        kept = dict(place)
        place["path" if "path" in place else "version"] = name
        (tmp_path / FILE_NAME).write_text(json.dumps(tree))
        with pytest.raises(InputError, match=r"not a manifest of format 3 .*String should match"):
            read_manifest(tmp_path)
        place |= kept
