from dataclasses import replace

import pytest

from jobs.ensemble import check_trained_apart
from pipelines.config import InputError
from pipelines.dataset.lookup import split_keys
from pipelines.tracking.runs import TrainedRun


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
