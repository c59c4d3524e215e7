import errno
import io
import itertools
import os
import pickle
import resource
import signal
import sys
from contextlib import suppress
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
import torch
from torch import nn
from torch.optim import SGD

from pipelines.config import InputError
from pipelines.training.checkpoint import KEEP, Checkpoint, held, newest_first, newest_good, read_checkpoint, save
from pipelines.training.workers import Solo
from tests.hostile import Hostile


def checkpoint(epoch=1, step=None, val_errors=None):
    torch.manual_seed(epoch)
    model = nn.Linear(3, 2)
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    about = {"settings": {"model": {"name": "x"}}, "dataset_digest": "d"}
    average = nn.Linear(3, 2)
    return Checkpoint(
        epoch,
        10 * epoch if step is None else step,
        [0.0, 0.0, 0.0] if step is None else [1.5, 2.0, 64.0],
        model.state_dict(),
        optimizer.state_dict(),
        val_errors or [0.5] * epoch,
        average.state_dict(),
        about,
    )


def assert_equal(one, other):
    assert (one.epoch, one.step, one.about, one.val_errors) == (other.epoch, other.step, other.about, other.val_errors)
    torch.testing.assert_close(one.average, other.average, rtol=0, atol=0)
    torch.testing.assert_close(one.model, other.model, rtol=0, atol=0)
    torch.testing.assert_close(one.optimizer, other.optimizer, rtol=0, atol=0)


def test_a_checkpoint_reads_back_as_it_was_saved(tmp_path):
    path = save(checkpoint(), tmp_path)
    assert_equal(read_checkpoint(path, Solo()), checkpoint())


def test_only_the_newest_few_are_kept(tmp_path):
    for epoch in range(1, 6):
        save(checkpoint(epoch), tmp_path)
    assert [path.name for path in newest_first(tmp_path)] == ["epoch-0005.pt", "epoch-0004.pt"]
    assert KEEP == 2


def test_the_best_epochs_are_kept_beside_the_newest(tmp_path):
    errors = [0.5, 0.2, 0.4, 0.3, 0.6, 0.7, 0.8]
    for epoch in range(1, 8):
        save(checkpoint(epoch, val_errors=errors[:epoch]), tmp_path, keep_best=2)
    assert [path.name for path in newest_first(tmp_path)] == [f"epoch-000{epoch}.pt" for epoch in (7, 6, 4, 2)]


def test_a_checkpoint_within_an_epoch_comes_after_the_end_of_the_one_before(tmp_path):
    for one in (checkpoint(2), checkpoint(2, step=23), checkpoint(2, step=28), checkpoint(3)):
        save(one, tmp_path, keep_best=0)
        assert_equal(Checkpoint.from_bytes(newest_good(tmp_path), "it"), one)
    assert [path.name for path in newest_first(tmp_path)] == ["epoch-0003.pt", "epoch-0002-step-00000028.pt"]


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


@pytest.mark.attack
def test_every_bit_of_the_archives_directory_is_noticed_or_means_nothing():
    content = checkpoint(1).to_bytes()
    with ZipFile(io.BytesIO(content)) as archive:
        start = archive.start_dir
    for at, bit in itertools.product(range(start, len(content)), range(8)):
        flipped = content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]
        try:
            read = Checkpoint.from_bytes(flipped, "it")
        except InputError:
            continue
        assert_equal(read, checkpoint(1))


@pytest.mark.parametrize("place", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_flipped_bit_is_noticed_wherever_it_is(tmp_path, place):
    path = save(checkpoint(1), tmp_path)
    whole = path.read_bytes()
    for at in range(int(place * len(whole)), int(place * len(whole)) + 60):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        try:
            read = read_checkpoint(path, Solo())
        except InputError as error:
            assert str(error).startswith(f"{path}: damaged, or not a checkpoint of ours")  # noqa: PT017
        else:  # a byte that pads
            assert_equal(read, checkpoint(1))


def test_a_save_that_fails_leaves_the_one_before_and_no_half_one(tmp_path, monkeypatch):
    save(checkpoint(1), tmp_path)

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(
        InputError, match=r"epoch-0002\.pt: cannot be written: No space left on device; the checkpoints"
    ):
        save(checkpoint(2), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-0001.pt"]


def test_a_disk_that_is_full_ends_with_the_name_of_the_file(tmp_path):
    save(checkpoint(1), tmp_path)
    child = os.fork()
    if not child:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        status = 1
        with suppress(BaseException):
            try:
                save(checkpoint(2), tmp_path)
            except InputError as error:
                status = 0 if "epoch-0002.pt: cannot be written: File too large" in str(error) else 2
        os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-0001.pt"]


def test_killed_at_any_line_of_a_save_the_newest_whole_checkpoint_is_there(tmp_path):
    """SIGKILL in a child process before each line of our code that saving runs."""
    survived = []
    for line in itertools.count():
        folder = tmp_path / str(line)
        save(checkpoint(1), folder)
        child = os.fork()
        if not child:
            _killed_before_line(line)
            save(checkpoint(2), folder)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        for path in newest_first(folder):  # none is half written
            assert_equal(read_checkpoint(path, Solo()), checkpoint(int(path.stem.removeprefix("epoch-"))))
        newest = Checkpoint.from_bytes(newest_good(folder), "it")
        survived.append(newest.epoch)
        if status == 0:
            break
        assert status == -signal.SIGKILL
        save(checkpoint(3), folder)  # what was left behind does not disturb
    assert survived == sorted(survived)
    assert set(survived) == {1, 2}


def _killed_before_line(line):
    left = itertools.count(line, -1)

    def trace(frame, event, argument):
        if not frame.f_code.co_filename.endswith(("training/checkpoint.py", "dataset/storage.py")):
            return None
        if event == "line" and next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


@pytest.mark.attack
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
    refusal = pytest.raises(InputError, match="another process is at this very training")
    with held(tmp_path), refusal, held(tmp_path, patience_s=0.2):
        pass
    with held(tmp_path):
        pass


@pytest.mark.attack
def test_a_packed_checkpoint_that_could_be_of_any_size_is_not_unpacked(tmp_path):
    good = save(checkpoint(), tmp_path)
    with ZipFile(good) as members, ZipFile(tmp_path / "bomb.pt", "w", ZIP_DEFLATED) as bomb:
        for name in members.namelist():
            bomb.writestr(name, members.read(name))
        bomb.writestr("archive/data/99", bytes(64 << 20))
    assert (tmp_path / "bomb.pt").stat().st_size < 1 << 20
    with pytest.raises(InputError, match=r"bomb\.pt: damaged, or not a checkpoint of ours: it is packed"):
        read_checkpoint(tmp_path / "bomb.pt", Solo())
