import pytest

from pipelines.config import InputError
from pipelines.dataset.storage import Location
from pipelines.preprocess.sources.loose import UNKNOWN, list_loose
from tests.pipelines.preprocess.sources.builders import contents, encoded_image, tar_of, write_files

FILES = {name: encoded_image(name) for name in ("a.jpg", "b/c.JPEG", "b/d/e.jpg")}
IN_TAR = {name: encoded_image(name) for name in ("x.jpg", "y/z.jpg")}


def encoded(listing):
    return {key: made.encoded for key, made in contents(listing).items()}


def test_images_in_a_folder_and_all_below_it_are_called_by_their_paths(tmp_path):
    write_files(tmp_path, FILES | {"b/notes.txt": b"", ".DS_Store": b""})
    found = list_loose(str(tmp_path))
    assert encoded(found) == FILES
    assert {made.label for made in contents(found).values()} == {UNKNOWN}
    assert found.description == f"images in {tmp_path}, 1 other file left out"


def test_images_in_tars_among_them_are_called_by_the_tar_and_their_paths_in_it(tmp_path):
    write_files(tmp_path, FILES | {"b/shard.tar": tar_of(IN_TAR | {"x.cls": b"3"})})
    found = list_loose(str(tmp_path))
    assert encoded(found) == FILES | {f"b/shard/{name}": content for name, content in IN_TAR.items()}
    assert "and its 1 tars, 1 other file left out" in found.description


def test_one_tar_is_a_source_too(tmp_path):
    (tmp_path / "shard.tar").write_bytes(tar_of(IN_TAR))
    found = list_loose(str(tmp_path / "shard.tar"))
    assert encoded(found) == {f"shard/{name}": content for name, content in IN_TAR.items()}


def test_a_listing_changes_with_the_files_alone(tmp_path):
    write_files(tmp_path, FILES | {"shard.tar": tar_of(IN_TAR)})
    before = list_loose(str(tmp_path)).fingerprint
    assert list_loose(str(tmp_path)).fingerprint == before
    write_files(tmp_path, {"shard.tar": tar_of(FILES)})
    assert list_loose(str(tmp_path)).fingerprint != before


def test_links_that_lead_out_of_the_folder_are_rejects_unless_they_may(tmp_path):
    write_files(tmp_path, {"elsewhere/secret.jpg": FILES["a.jpg"], "images/a.jpg": FILES["a.jpg"]})
    (tmp_path / "images" / "link.jpg").symlink_to(tmp_path / "elsewhere" / "secret.jpg")
    (reject,) = list_loose(str(tmp_path / "images")).rejects
    assert (reject.key, reject.reason) == ("link.jpg", "unsafe_path")
    assert set(encoded(list_loose(str(tmp_path / "images"), follow_links=True))) == {"a.jpg", "link.jpg"}


def test_what_leads_out_of_a_tar_is_a_reject(tmp_path):
    (tmp_path / "shard.tar").write_bytes(tar_of({"../out.jpg": FILES["a.jpg"]}))
    (reject,) = list_loose(str(tmp_path / "shard.tar")).rejects
    assert reject.reason == "unsafe_path"


def test_a_bucket_is_a_folder(bucket: Location):
    for name, content in FILES.items():
        (bucket / f"new/{name}").write_bytes(content)
    assert encoded(list_loose(str(bucket / "new"))) == FILES
    assert encoded(list_loose(str(bucket))) == {f"new/{name}": content for name, content in FILES.items()}


def test_what_is_neither_a_folder_nor_a_tar_is_refused(tmp_path):
    (tmp_path / "images.zip").write_bytes(b"")
    with pytest.raises(InputError, match=r"images.zip: a file, but no .tar; give a folder of images, or unpack it"):
        list_loose(str(tmp_path / "images.zip"))
    with pytest.raises(InputError, match=r"source.path = .*none: no such folder"):
        list_loose(str(tmp_path / "none"))
