import os

import pytest

from pipelines.config import InputError, SourceSettings
from pipelines.preprocess.sources import list_source
from tests.pipelines.preprocess.sources.builders import contents, encoded_image, write_files, write_imagefolder

CLASSES = {"cat": 2, "Cat": 1, "dog": 3}


def listing(folder, **settings):
    return list_source(SourceSettings(kind="imagefolder", path=str(folder), **settings))


def keys(found):
    return found.items.column("key").to_pylist()


def rejects(found):
    return [(reject.key, reject.reason) for reject in found.rejects]


@pytest.fixture
def linked(tmp_path):
    write_imagefolder(tmp_path / "root", CLASSES)
    write_files(tmp_path / "outside", {"1.png": encoded_image("1"), "below/2.png": encoded_image("2")})
    return tmp_path / "root"


def test_links_that_stay_inside_are_followed(linked):
    (linked / "cat" / "alias.png").symlink_to("../dog/0.png")
    (linked / "cat" / "all").symlink_to(linked / "dog")
    found = listing(linked)
    assert {key for key in keys(found) if key.startswith("cat/a")} == {
        "cat/alias.png",
        "cat/all/0.png",
        "cat/all/1.png",
        "cat/all/2.png",
    }
    assert contents(found)["cat/alias.png"].encoded == (linked / "dog" / "0.png").read_bytes()
    assert not found.rejects


@pytest.mark.attack
def test_links_that_lead_out_are_rejects_unless_allowed(linked):
    (linked / "cat" / "file.png").symlink_to(linked.parent / "outside" / "1.png")
    (linked / "cat" / "folder").symlink_to("../../outside/below")
    found = listing(linked)
    assert rejects(found) == [("cat/file.png", "unsafe_path"), ("cat/folder", "unsafe_path")]
    assert found.rejects[0].uri == str(linked / "cat" / "file.png")
    assert str(linked.parent / "outside" / "1.png") in found.rejects[0].detail
    allowed = listing(linked, follow_links=True)
    assert not allowed.rejects
    assert {"cat/file.png", "cat/folder/2.png"} <= {*keys(allowed)}


def test_a_class_folder_that_is_a_link_out_is_named_with_the_way_to_allow_it(linked):
    (linked / "cow").symlink_to("../outside")
    with pytest.raises(InputError, match=r"the class cow has no images; cow: a link .* source\.follow_links = true"):
        listing(linked)
    assert {"cow/1.png", "cow/below/2.png"} <= {*keys(listing(linked, follow_links=True))}


@pytest.mark.attack
def test_a_folder_whose_name_begins_like_the_root_is_outside(linked):
    write_files(linked.parent, {"root2/1.png": b"x"})
    (linked / "cat" / "file.png").symlink_to("../../root2/1.png")
    assert rejects(listing(linked)) == [("cat/file.png", "unsafe_path")]


@pytest.mark.attack
def test_val_elsewhere_does_not_widen_what_links_may_reach(linked):
    val = linked.parent / "val images"
    write_imagefolder(val, CLASSES)
    (linked / "cat" / "file.png").symlink_to("../../outside/1.png")
    (val / "cat" / "file.png").symlink_to("../../root/cat/0.png")
    found = listing(linked, val_path=str(val))
    assert rejects(found) == [("train/cat/file.png", "unsafe_path"), ("val/cat/file.png", "unsafe_path")]


def test_dangling_links_are_unreadable(linked):
    (linked / "cat" / "gone.png").symlink_to("nowhere.png")
    found = listing(linked)
    assert rejects(found) == [("cat/gone.png", "unreadable")]
    assert "nowhere.png" in found.rejects[0].detail


@pytest.mark.parametrize("follow_links", [False, True])
def test_cycles_of_links_end(linked, follow_links):
    (linked / "cat" / "self.png").symlink_to("self.png")
    (linked / "cat" / "up").symlink_to("..")
    (linked / "cat" / "here").symlink_to(".")
    (linked / "dog" / "to_cat").symlink_to("../cat")
    (linked / "cat" / "to_dog").symlink_to("../dog")
    found = listing(linked, follow_links=follow_links)
    assert {"cat/0.png", "cat/to_dog/0.png", "dog/to_cat/0.png"} <= {*keys(found)}
    assert ("cat/here", "unsafe_path") in rejects(found)
    assert ("cat/self.png", "unreadable") in rejects(found)


def test_a_folder_that_two_links_of_a_class_lead_to_is_read_once(linked):
    (linked / "cat" / "a").symlink_to("../dog")
    (linked / "cat" / "b").symlink_to("../dog")
    found = listing(linked)
    assert "cat/a/0.png" in keys(found)
    assert rejects(found) == [("cat/b", "unsafe_path")]


def test_a_root_that_is_itself_a_link_is_read(linked):
    (linked.parent / "link").symlink_to(linked)
    assert keys(listing(linked.parent / "link")) == keys(listing(linked))


def test_pipes_and_names_that_are_no_text_are_rejects(linked):
    os.mkfifo(linked / "cat" / "pipe.png")
    write_files(linked, {os.fsdecode(b"cat/\xe9.png"): b"x"})
    assert sorted(rejects(listing(linked))) == [("cat/\\udce9.png", "unreadable"), ("cat/pipe.png", "unsafe_path")]
