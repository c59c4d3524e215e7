"""What workers must have in common."""

import pytest
import torch

from pipelines.config import InputError, TrainSettings
from pipelines.training.agreement import check_agreement, compare
from pipelines.training.workers import Solo


class BesideRank0(Solo):
    """The first worker of a second host, beside a rank 0 with the same settings and the given dataset."""

    rank, size = 1, 2

    def __init__(self, digest):
        self._digest = digest

    def gather_bytes(self, content):
        return [content.replace(self._digest.encode(), b"of-the-first"), content]


def settings(dataset):
    return TrainSettings(dataset=str(dataset), model={"name": "lenet5"})


def test_a_host_with_another_copy_of_the_dataset_is_named(digits):
    digest = digits.manifest.digest[:12]
    with pytest.raises(InputError, match=f"worker 1 on .*: the dataset's digest = {digest}, not of-the-first. All"):
        check_agreement(settings(digits.root), digits.manifest, torch.device("cpu"), BesideRank0(digest))


def test_workers_that_agree_train(digits):
    check_agreement(settings(digits.root), digits.manifest, torch.device("cpu"), BesideRank0("nothing"))


def test_the_first_worker_that_differs_is_named_with_some_of_its_differences():
    alike = {"host": "host1", "has": dict.fromkeys("abcdef", 1)}
    other = {"host": "host2", "has": dict.fromkeys("abcdef", 2)}
    with pytest.raises(InputError, match=r"worker 2 on host2 .* on host1: a = 2, not 1; .*; d = 2, not 1 and 2 more"):
        compare([alike, alike, other])


def test_a_gpu_that_one_worker_lacks_is_a_difference():
    there, lacking = ({"host": "host", "has": {"the kind of device": kind}} for kind in ("cuda", "cpu"))
    with pytest.raises(InputError, match=r"worker 1 on host .* the kind of device = cpu, not cuda"):
        compare([there, lacking])
