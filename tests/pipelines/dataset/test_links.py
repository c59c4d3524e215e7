import os
import shutil

import pytest

from pipelines.config import InputError
from pipelines.dataset.links import refuse_links_out
from pipelines.dataset.manifest import FILE_NAME, find_damage, read_manifest
from pipelines.dataset.storage import Location


@pytest.fixture
def copy(digits, tmp_path):
    """Of the digits, in a folder that has others beside it."""
    return shutil.copytree(digits.root, tmp_path / "dataset")


def lead_out(path, outside):
    """Put a link in the place of a file or folder, to what lay there, which now lies elsewhere."""
    outside.mkdir(exist_ok=True)
    path.symlink_to(path.rename(outside / path.name))
    return path


@pytest.mark.attack
@pytest.mark.parametrize("name", [FILE_NAME, "{version}", "{version}/train", "{version}/val/part-00000.parquet"])
def test_a_dataset_with_a_link_that_leads_out_is_not_read(digits, copy, tmp_path, name):
    link = lead_out(copy / name.format(version=digits.manifest.version), tmp_path / "elsewhere")
    with pytest.raises(InputError, match=rf"{link}: a link to {tmp_path}/elsewhere/{link.name}, outside of"):
        read_manifest(copy)


@pytest.mark.attack
def test_a_link_to_a_place_in_the_dataset_that_leads_out_is_not_read(digits, copy, tmp_path):
    inner = copy / "inner"
    link = lead_out(copy / digits.manifest.version / "train", inner)
    lead_out(inner / "train" / "part-00000.parquet", tmp_path / "elsewhere")
    with pytest.raises(InputError, match=rf"{link}/part-00000\.parquet: a link to {tmp_path}/elsewhere"):
        read_manifest(copy)


@pytest.mark.attack
@pytest.mark.parametrize("is_folder", [True, False])
def test_a_link_is_removed_and_what_it_leads_to_stays(tmp_path, is_folder):
    outside = tmp_path / "precious"
    outside.mkdir()
    (outside / "file").write_text("mine")
    link = tmp_path / "link"
    link.symlink_to(outside if is_folder else outside / "file")
    Location.at(link).remove()
    assert (outside / "file").read_text() == "mine"
    assert not os.path.lexists(link)


def test_the_dataset_itself_may_be_a_link_or_lie_below_one(digits, copy, tmp_path):
    (tmp_path / "disk").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "dataset")
    for root in (tmp_path / "disk" / "dataset", tmp_path / "link"):
        assert read_manifest(root) == digits.manifest
        assert find_damage(digits.manifest, root) == {}


def test_links_from_one_place_in_the_dataset_to_another_are_followed(digits, copy):
    link = lead_out(copy / digits.manifest.version / "train", copy / "inner")
    (link / "round").symlink_to(copy / digits.manifest.version)
    (link / "nowhere").symlink_to(copy / "nothing")
    assert read_manifest(copy) == digits.manifest


def test_what_is_not_there_yet_leads_nowhere(tmp_path):
    refuse_links_out(Location.at(tmp_path / "new"), "v-1")
