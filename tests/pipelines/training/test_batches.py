import json
from contextlib import closing
from dataclasses import dataclass, field

import torch

from pipelines.training.batches import OneBatch, Profiled, SameBatch, first_of, random_batch

CPU = torch.device("cpu")


@dataclass
class Numbers:
    """Batches of one image each, whose pixel counts the steps, all in the same memory."""

    steps_per_epoch: int = 4
    memory: torch.Tensor = field(default_factory=lambda: torch.zeros(1, 1, 1, 1, dtype=torch.uint8))
    closed: bool = False

    def epochs(self, epochs, start_step=0):
        try:
            for step in range(start_step, len(epochs) * self.steps_per_epoch):
                self.memory.fill_(epochs.start * self.steps_per_epoch + step)
                yield OneBatch(self.memory, torch.tensor([step]), (f"image-{step}",))
        finally:
            self.memory.fill_(255)
            self.closed = True


def test_the_first_batch_is_copied_and_its_loader_closed():
    loader = Numbers()
    batch = first_of(loader)
    assert (batch.images.item(), batch.labels.tolist(), batch.keys) == (0, [0], ("image-0",))
    assert loader.closed


def test_one_batch_is_given_for_all_steps_that_are_left_and_made_once():
    made = []
    same = SameBatch(4, lambda: made.append(1) or first_of(Numbers()))
    given = list(same.epochs(range(1, 3), start_step=3))
    assert len(given) == 5
    assert len({id(batch) for batch in given}) == len(made) == 1


def test_a_random_batch_has_the_shape_and_classes_asked_for_and_repeats_with_its_seed():
    batch, again, other = (random_batch((64, 5, 6, 3), 10, seed, CPU) for seed in (1, 1, 2))
    assert (batch.images.shape, batch.images.dtype, batch.labels.dtype) == ((64, 5, 6, 3), torch.uint8, torch.int64)
    assert (int(batch.images.min()), int(batch.images.max())) == (0, 255)
    assert (int(batch.labels.min()), int(batch.labels.max()), len(batch.keys)) == (0, 9, 64)
    assert torch.equal(batch.images, again.images)
    assert torch.equal(batch.labels, again.labels)
    assert not torch.equal(batch.images, other.images)


def trained(loader, epochs=3):
    """Each step a product as many times as its number, from 1."""
    seen = []
    for batch in loader.epochs(range(epochs)):
        seen.append(int(batch.labels))
        with torch.profiler.record_function(f"step {seen[-1]}"):
            torch.ones(2, 2) @ torch.ones(2, 2)
    return seen


def names_in(file):
    return {event.get("name") for event in json.loads(file.read_text())["traceEvents"]}


def test_a_profile_has_the_steps_it_is_for_and_no_others_and_changes_no_batch(tmp_path):
    file = tmp_path / "run" / "trace.json"
    assert trained(Profiled(Numbers(), file, first=3, count=2)) == list(range(12))
    names = names_in(file)
    assert {name for name in names if name and name.startswith("step ")} == {"step 3", "step 4"}
    assert "aten::mm" in names


def test_a_training_that_ends_within_the_profile_leaves_what_there_is(tmp_path):
    file = tmp_path / "trace.json"
    assert trained(Profiled(Numbers(), file, first=2, count=9), epochs=1) == list(range(4))
    assert {"step 2", "step 3"} <= names_in(file)


def test_a_training_that_takes_no_more_batches_within_the_profile_leaves_what_there_is(tmp_path):
    file = tmp_path / "trace.json"
    with closing(Profiled(Numbers(), file, first=1, count=9).epochs(range(1))) as batches:
        for _ in range(3):
            next(batches)
            with torch.profiler.record_function("a step"):
                pass
    assert "a step" in names_in(file)
