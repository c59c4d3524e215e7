from dataclasses import replace

import pytest

from pipelines.report.facts import errors_by_protocol
from tests.pipelines.report.studies import DIGEST, ensemble, facts, judged, training, whole


def names(found):
    return [run.name.rpartition("-")[2] for run, *_ in found]


def test_errors_of_every_protocol_are_found():
    metrics = judged(0.05, 0.01) | judged(0.04, images=500, prefix="eval_dense-32-40")
    found = errors_by_protocol(training(1, metrics))
    assert {protocol: (one.top1, one.images) for protocol, one in found.items()} == {
        "as_trained": (0.05, 1000),
        "dense-32-40": (0.04, 500),
    }
    assert found["as_trained"].top1_between == pytest.approx((0.04, 0.06))
    assert (found["as_trained"].top5, found["as_trained"].top5_between) == (0.01, pytest.approx((0.0, 0.02)))


def test_errors_that_are_no_numbers_or_lack_a_bound_are_none():
    assert errors_by_protocol(training(1)) == {}
    assert errors_by_protocol(training(1, judged(0.1) | {"eval_top1_error": float("nan")})) == {}
    incomplete = judged(0.1)
    del incomplete["eval_top5_error_high"]
    assert errors_by_protocol(training(1, incomplete)) == {}


def test_the_best_network_errs_least_and_is_the_first_by_name_of_equals():
    assert names(facts(*(training(seed, judged(top1)) for seed, top1 in ((1, 0.3), (2, 0.1), (3, 0.1)))).judged) == [
        "seed2",
        "seed3",
        "seed1",
    ]


def test_of_several_trainings_of_one_name_the_newest_finished_one_counts():
    older, newer = training(1, judged(0.1)), training(1, judged(0.2), run_id="newer", started_ms=2_000_000)
    failed = training(1, judged(0.01), run_id="failed", started_ms=3_000_000, status="FAILED")
    ((run, errors),) = facts(older, newer, failed).judged
    assert (run.run_id, errors.top1) == ("newer", 0.2)


def test_the_newest_finished_ensemble_is_the_studys():
    members = [training(1), training(2)]
    older, newer = ensemble(members), ensemble(members, run_id="newer", started_ms=3_000_000, name="a-later-one")
    running = ensemble(members, run_id="running", started_ms=4_000_000, status="RUNNING")
    run, errors = facts(*members, older, newer, running).ensemble
    assert (run.run_id, errors.top1) == ("newer", 0.02)
    assert facts(*members).ensemble is None


def test_networks_are_compared_by_the_ensembles_protocol():
    both = judged(0.05) | judged(0.03, prefix="eval_dense")
    members = [training(1, both), training(2, both), training(3, judged(0.01))]
    dense = ensemble(members[:2], parameters={"members": "id1 id2", "protocol": "dense"})
    study = facts(*members, dense)
    assert study.protocol == "dense"
    assert [(run.run_id, errors.top1) for run, errors in study.judged] == [("id1", 0.03), ("id2", 0.03)]
    assert facts(*members).protocol == "as_trained"
    assert facts(training(1, judged(0.03, prefix="eval_ten_crop"))).protocol == "ten_crop"
    assert facts(training(1)).protocol == "as_trained"


def test_members_have_their_names_and_those_from_elsewhere_their_ids():
    members = [training(1), training(2)]
    of_others = ensemble(members, parameters={"members": "id2 id1 another"})
    assert facts(*members).members(of_others) == ["lenet5_modern-pets-seed2", "lenet5_modern-pets-seed1", "another"]


def imagenet(manifest, rows=50_000, wnid="n01440764"):
    """The manifest of a dataset whose counts are ImageNet's; of its files nothing is asked."""
    entry = manifest.classes[0].model_copy(update={"wnid": wnid})
    file = manifest.splits["val"].files[0].model_copy(update={"row_groups": (rows,)})
    val = manifest.splits["val"].model_copy(update={"files": (file,)})
    return manifest.model_copy(
        update={"classes": (entry,) * 1000, "splits": manifest.splits | {"val": val}, "digest": DIGEST}
    )


def test_only_all_of_imagenets_validation_images_are_imagenet(digits):
    manifest = imagenet(digits.manifest)
    assert whole(manifest).is_of_imagenet
    assert not whole(imagenet(digits.manifest, rows=49_999)).is_of_imagenet
    assert not whole(imagenet(digits.manifest, wnid=None)).is_of_imagenet
    assert not whole(digits.manifest).is_of_imagenet
    assert not whole().is_of_imagenet
    other = replace(training(3), tags={"strata.dataset_digest": "another"})
    assert not facts(training(1), other, manifest=manifest).is_of_imagenet
