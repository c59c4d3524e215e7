from dataclasses import replace

import pytest

from jobs.ensemble import check_trained_apart, common_metadata
from pipelines.command_line import parse
from pipelines.config import InputError, TrainSettings
from pipelines.dataset.lookup import split_keys
from pipelines.tracking.runs import TrainedRun
from pipelines.training.checkpoint import Checkpoint
from tests.conftest import REPOSITORY


def test_a_member_trained_on_the_predicted_images_is_refused(spark, digits):
    member = TrainedRun("1f", "some run", "c.pt", str(digits.root), digits.manifest.digest, 1.0)
    seen, unseen = (
        spark.createDataFrame([(key,) for key in split_keys(digits.root, digits.manifest, split)], ["key"])
        for split in ("train", "val")
    )
    check_trained_apart(seen, [member], digits.manifest.digest)  # its own validation images, whatever they are called
    check_trained_apart(unseen, [member], "another dataset")
    with pytest.raises(InputError, match=r"some run was trained on [\d,]+ of these [\d,]+ validation images"):
        check_trained_apart(seen, [member], "another dataset")
    with pytest.raises(InputError, match="is not it any more: nobody can tell"):
        check_trained_apart(unseen, [replace(member, dataset_digest="older")], "another dataset")


def test_members_that_see_an_image_in_different_ways_have_nothing_to_log_in_common(digits):
    def checkpoint(*overrides):
        settings = parse(TrainSettings, [str(REPOSITORY / "conf/train/lenet5_digits.yaml"), *overrides])
        return Checkpoint(1, 1, [], {}, {}, [], None, {"settings": settings.shown()})

    plain, padded = checkpoint("seed=1"), checkpoint("loader.val_transforms=[{kind: pad, size: 32}]")
    grey, other = digits.manifest, digits.manifest.model_copy(update={"configuration": {"image": {"channels": 1}}})
    metadata = common_metadata([plain, checkpoint("seed=2")], [grey, grey])
    assert metadata is not None
    assert (metadata.image.size, metadata.output) == (32, "probabilities")
    assert common_metadata([plain, padded], [grey, grey]) is None
    assert common_metadata([plain, plain], [grey, other]) is None
