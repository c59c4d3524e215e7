from typing import get_args

import pytest

from pipelines.config import InputError, SourceKind, SourceSettings
from pipelines.preprocess.sources import KINDS, list_source
from tests.pipelines.preprocess.sources.builders import SYNSETS, imagenet_train, tar_of, write_ilsvrc


def test_every_kind_of_the_settings_has_a_source():
    assert set(KINDS) == set(get_args(SourceKind))


def test_two_images_of_one_key_are_refused(tmp_path):
    write_ilsvrc(tmp_path, SYNSETS[:1])
    wnid, images = next(iter(imagenet_train(SYNSETS, 2).items()))
    first = next(iter(images))
    class_tar = tar_of(images | {f"./{first}": b"again"})
    (tmp_path / "ILSVRC2012_img_train.tar").write_bytes(tar_of({f"{wnid}.tar": class_tar}))
    with pytest.raises(InputError, match=f"two images have one key, train/{wnid}/{first}$"):
        list_source(SourceSettings(path=str(tmp_path)))
