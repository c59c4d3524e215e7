import json
import math

import pytest
import torch
from torch import nn

from pipelines.config import InputError
from pipelines.training.divergence import NAMED, FiniteWatch
from pipelines.training.workers import Solo


class OneOfTwo(Solo):
    """This process is rank 0; the other worker's loss is finite until the step given, 0 for always."""

    size = 2

    def __init__(self, other_bad_from=math.inf):
        self.other_bad_from = other_bad_from

    def gather_bytes(self, content):
        other = [
            [step, step < self.other_bad_from, [f"other-{key}" for key in keys]]
            for step, _, keys in json.loads(content)
        ]
        return [content, json.dumps(other).encode()]


def watch_that_saw(folder, losses, workers=None, keys=1):
    watch = FiniteWatch(workers or Solo(), folder)
    for step, loss in enumerate(losses):
        watch.saw(step, tuple(f"{step}{chr(ord('a') + place)}" for place in range(keys)), [torch.tensor(loss)])
    return watch, sum(losses)


def test_a_finite_loss_passes(tmp_path):
    watch, total = watch_that_saw(tmp_path, [1.0, 2.0])
    watch.check_loss(total)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_the_first_step_without_a_finite_loss_is_named_with_its_images(tmp_path, bad):
    watch, total = watch_that_saw(tmp_path, [1.0, 2.0, bad, 3.0], keys=2)
    with pytest.raises(InputError, match=r"at step 3, found at step 4; its images: 2a, 2b\. ") as caught:
        watch.check_loss(total)
    assert "\n" not in str(caught.value)
    assert "lower optimizer.lr" in str(caught.value)


def test_the_images_of_all_steps_since_the_last_check_are_listed_and_those_of_the_step_before_it(tmp_path):
    watch, total = watch_that_saw(tmp_path / "new", [1.0, 2.0])
    watch.check_loss(total)
    watch.saw(2, ("2a", "2b"), [torch.tensor(math.nan), torch.tensor(1.0)])
    with pytest.raises(InputError, match="lists those of steps 2 to 3"):
        watch.check_loss(math.nan)
    assert (tmp_path / "new" / "diverged.tsv").read_text() == "step\tworker\tkey\n2\t0\t1a\n3\t0\t2a\n3\t0\t2b\n"


def test_a_long_list_is_cut_short_in_the_message(tmp_path):
    watch, total = watch_that_saw(tmp_path, [math.nan], keys=NAMED + 2)
    with pytest.raises(InputError, match=r"0a, .*, 0h and 2 more\. "):
        watch.check_loss(total)
    assert len((tmp_path / "diverged.tsv").read_text().splitlines()) == NAMED + 3


@pytest.mark.parametrize(
    ("losses", "workers", "images"),
    [
        ([1.0, math.nan], OneOfTwo(), "1a"),
        ([1.0, math.nan], OneOfTwo(1), "1a, other-1a"),
    ],
)
def test_only_workers_whose_own_loss_was_not_finite_are_suspected(tmp_path, losses, workers, images):
    watch, total = watch_that_saw(tmp_path, losses, workers)
    with pytest.raises(InputError, match=rf"at step 2, found at step 2; its images: {images}\. "):
        watch.check_loss(total)


def test_finite_weights_pass(tmp_path):
    watch, _ = watch_that_saw(tmp_path, [1.0])
    watch.check_weights(nn.BatchNorm1d(2))


@pytest.mark.parametrize("spoilt", ["weight", "running_mean"])
def test_weights_and_statistics_that_are_not_finite_are_the_last_steps_doing(tmp_path, spoilt):
    watch, total = watch_that_saw(tmp_path, [1.0, 2.0])
    watch.check_loss(total)
    model = nn.BatchNorm1d(2)
    getattr(model, spoilt).data[1] = math.nan
    with pytest.raises(InputError, match=r"the weights became infinite or not a number at step 2, .* images: 1a\. "):
        watch.check_weights(model)


def test_one_micro_batch_without_a_finite_loss_is_enough(tmp_path):
    watch = FiniteWatch(Solo(), tmp_path)
    watch.saw(0, ("a",), [torch.tensor(math.nan), torch.tensor(1.0)])
    watch.saw(1, ("b",), [torch.tensor(1.0), torch.tensor(1.0)])
    with pytest.raises(InputError, match=r"at step 1, found at step 2; its images: a\. "):
        watch.check_loss(math.nan)
