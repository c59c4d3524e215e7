import pickle

import pytest
import torch
from torch import nn
from torch.optim import SGD

from pipelines.config import InputError
from pipelines.training.checkpoint import KEEP, Checkpoint, held, newest_first, newest_good, read_checkpoint, save
from pipelines.training.workers import Solo


def checkpoint(epoch=1):
    torch.manual_seed(epoch)
    model = nn.Linear(3, 2)
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    about = {"settings": {"model": {"name": "x"}}, "dataset_digest": "d"}
    average = nn.Linear(3, 2)
    return Checkpoint(
        epoch,
        10 * epoch,
        model.state_dict(),
        optimizer.state_dict(),
        torch.get_rng_state(),
        [0.5] * epoch,
        average.state_dict(),
        about,
    )


def assert_equal(one, other):
    assert (one.epoch, one.step, one.about, one.val_errors) == (other.epoch, other.step, other.about, other.val_errors)
    torch.testing.assert_close(one.average, other.average, rtol=0, atol=0)
    torch.testing.assert_close(one.model, other.model, rtol=0, atol=0)
    torch.testing.assert_close(one.optimizer, other.optimizer, rtol=0, atol=0)
    assert torch.equal(one.generator, other.generator)


def test_a_checkpoint_reads_back_as_it_was_saved(tmp_path):
    path = save(checkpoint(), tmp_path)
    assert_equal(read_checkpoint(path, Solo()), checkpoint())


def test_only_the_newest_few_are_kept(tmp_path):
    for epoch in range(1, 6):
        save(checkpoint(epoch), tmp_path)
    assert [path.name for path in newest_first(tmp_path)] == ["epoch-0005.pt", "epoch-0004.pt"]
    assert KEEP == 2


def test_epochs_are_ordered_as_numbers(tmp_path):
    for epoch in (9999, 10000):
        save(checkpoint(epoch), tmp_path)
    assert newest_first(tmp_path)[0].name == "epoch-10000.pt"


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"no zip" + b[6:]])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(tmp_path, capsys, damage):
    save(checkpoint(1), tmp_path)
    newest = save(checkpoint(2), tmp_path)
    newest.write_bytes(damage(newest.read_bytes()))
    assert_equal(Checkpoint.from_bytes(newest_good(tmp_path), "it"), checkpoint(1))
    assert f"warning: {newest}: damaged" in capsys.readouterr().out


def test_no_checkpoint_is_empty(tmp_path):
    assert newest_good(tmp_path / "nothing here") == b""


def test_a_save_that_is_interrupted_leaves_the_one_before_and_no_half_one(tmp_path, monkeypatch):
    save(checkpoint(1), tmp_path)

    def power_cut(descriptor):
        raise OSError("power cut")

    monkeypatch.setattr("os.fsync", power_cut)
    with pytest.raises(OSError, match="power cut"):
        save(checkpoint(2), tmp_path)
    assert [path.name for path in newest_first(tmp_path)] == ["epoch-0001.pt"]


class Hostile:
    def __init__(self, trap):
        self.trap = trap

    def __reduce__(self):
        return (self.trap.touch, ())


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_hostile_pickle_does_not_run(tmp_path):
    trap, path = tmp_path / "sprung", tmp_path / "epoch-0001.pt"
    torch.save(Hostile(trap), path)
    with pytest.raises(InputError, match="damaged, or not a checkpoint of ours"):
        read_checkpoint(path, Solo())
    path.write_bytes(pickle.dumps(Hostile(trap)))
    with pytest.raises(InputError, match="damaged, or not a checkpoint of ours"):
        read_checkpoint(path, Solo())
    assert not trap.exists()


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(InputError, match="nothing: no checkpoint to read: No such file"):
        read_checkpoint(tmp_path / "nothing", Solo())


def test_a_folder_is_held_by_one_training_at_a_time(tmp_path):
    with held(tmp_path), pytest.raises(InputError, match="another process is at this very training"), held(tmp_path):
        pass
    with held(tmp_path):
        pass
