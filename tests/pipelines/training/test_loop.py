import math
import os
import re
import signal
import time
from dataclasses import dataclass, field
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from pipelines.config import InputError, TrainSettings
from pipelines.training.averaging import make_average
from pipelines.training.checkpoint import newest_first
from pipelines.training.figures import Sums
from pipelines.training.loop import Trainer
from pipelines.training.mixing import Mixed, make_mix
from pipelines.training.optimization import make_clip, make_optimizer
from pipelines.training.precision import Precision
from pipelines.training.progress import Screen, Silence
from pipelines.training.stopping import STATUS, Stop
from pipelines.training.workers import Solo


@dataclass
class Batch:
    images: torch.Tensor
    labels: torch.Tensor
    keys: tuple[str, ...]


class Batches:
    """Five batches of eight a epoch, others in every epoch."""

    steps_per_epoch = 5

    def epoch(self, epoch, start_step=0):
        draws = torch.Generator().manual_seed(epoch)
        for step in range(self.steps_per_epoch):
            images = torch.randint(0, 256, (8, 2, 2, 1), generator=draws, dtype=torch.uint8)
            keys = tuple(f"image-{epoch}-{step}-{place}" for place in range(8))
            if step >= start_step:
                yield Batch(images, (images.sum((1, 2, 3)) > 500).long(), keys)

    def epochs(self, epochs, start_step=0):
        for epoch in epochs:
            yield from self.epoch(epoch, start_step if epoch == epochs.start else 0)


@dataclass
class Log:
    """An in-memory twin of the tracker."""

    metrics: list[tuple[int, dict[str, float]]] = field(default_factory=list)

    def log_metrics(self, metrics, step):
        self.metrics.append((step, metrics))

    def curve(self, key):
        return {step: metrics[key] for step, metrics in self.metrics if key in metrics}


class Net(nn.Module):
    def __init__(self, dropout=0.0):
        super().__init__()
        self.layer = nn.Sequential(nn.Dropout(dropout), nn.Linear(4, 2))

    def forward(self, images):
        return self.layer(images.flatten(1).float() / 255)


def trainer(folder, epochs=3, stop_after=None, dropout=0.0, **changes):
    settings = TrainSettings.model_validate(
        {"dataset": "d", "model": {"name": "m"}, "epochs": epochs, "tracking": {"log_every_steps": 2}}
        | {"optimizer": {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}}
        | changes
    )
    torch.manual_seed(0)
    model = Net(dropout)
    validations = []

    def validate(validated):
        if validated is model:
            validations.append(model)
        if len(validations) == stop_after:
            raise KeyboardInterrupt
        return {"val_top1_error": 0.5, "val_top5_error": 0.0}

    return Trainer(
        model=model,
        optimizer=make_optimizer(model, settings.optimizer),
        loader=Batches(),
        mix=make_mix(settings),
        clip=make_clip(settings.clip_norm),
        average=make_average(model, settings.ema_decay),
        validate=validate,
        workers=Solo(),
        settings=settings,
        device=torch.device("cpu"),
        checkpoints=folder,
        about={"dataset_digest": "d"},
        log=Log(),
        progress=Screen(None),
        precision=Precision(settings.precision, "cpu", first_scale=2.0**24),  # so high that first steps overflow
    )


MIXED = {
    "mixing": {"mixup_alpha": 0.4, "cutmix_alpha": 1.0},
    "label_smoothing": 0.1,
    "loader": {"global_batch": 8, "lanes": 2},
}
WAYS = {
    "plain": {},
    "dropout": {"dropout": 0.5},
    "mixed": MIXED,
    "accumulation": {"accumulation": 4},
    "ema": {"ema_decay": 0.99},
    "plateau": {"schedule": {"kind": "plateau", "patience_epochs": 1}},
    "clipping": {"clip_norm": 0.05},
    "adamw": {"optimizer": {"kind": "adamw", "lr": 0.01, "weight_decay": 0.1}},
    "lars": {"optimizer": {"kind": "lars", "lr": 5, "decay_biases_and_norms": False}},
    "alexnet": {"optimizer": {"kind": "alexnet", "lr": 0.1, "weight_decay": 0.01}},
    "bfloat16": {"precision": "bfloat16"},
    "float16": {"precision": "float16", "clip_norm": 0.3, "accumulation": 2},
}


def test_the_weights_are_those_of_a_plain_loop(tmp_path):
    ours = trainer(tmp_path, schedule={"kind": "constant"})
    ours.fit()
    torch.manual_seed(0)
    model = Net()
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01, fused=True)
    for epoch in range(3):
        for batch in Batches().epoch(epoch):
            optimizer.zero_grad()
            cross_entropy(model(batch.images), batch.labels).backward()
            optimizer.step()
    torch.testing.assert_close(ours.model.state_dict(), model.state_dict(), rtol=0, atol=0)


def test_with_mixing_and_smoothing_they_are_those_of_a_plain_loop_that_mixes_and_smooths(tmp_path):
    ours = trainer(tmp_path, schedule={"kind": "constant"}, **MIXED)
    ours.fit()
    torch.manual_seed(0)
    model = Net()
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    mix = make_mix(ours.settings)
    for step, batch in enumerate(batch for epoch in range(3) for batch in Batches().epoch(epoch)):
        mixed = mix(batch.images, batch.labels, step)
        optimizer.zero_grad()
        logits = model(mixed.images)
        sum(share * cross_entropy(logits, labels, label_smoothing=0.1) for share, labels in mixed.shares).backward()
        optimizer.step()
    torch.testing.assert_close(ours.model.state_dict(), model.state_dict())


def squared(scores, labels, *, label_smoothing):
    """A loss of a network's own."""
    return (scores - label_smoothing - nn.functional.one_hot(labels, 2)).square().mean()


@pytest.mark.parametrize("changes", [{}, MIXED], ids=["plain", "mixed"])
def test_a_networks_own_loss_is_what_is_minimised_and_logged(tmp_path, changes):
    ours = trainer(tmp_path, epochs=1, schedule={"kind": "constant"}, **changes)
    ours.loss = squared
    ours.fit()
    torch.manual_seed(0)
    model = Net()
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    mix, losses = make_mix(ours.settings), []
    for step, batch in enumerate(Batches().epoch(0)):
        mixed = mix(batch.images, batch.labels, step)
        optimizer.zero_grad()
        scores, smoothing = model(mixed.images), ours.settings.label_smoothing
        loss = sum(share * squared(scores, labels, label_smoothing=smoothing) for share, labels in mixed.shares)
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    torch.testing.assert_close(ours.model.state_dict(), model.state_dict())
    assert ours.log.curve("train_loss")[1] == pytest.approx(sum(losses) / 5)


@pytest.mark.parametrize("mixing", [{"mixup_alpha": 0.4}, {"cutmix_alpha": 1.0}, {}], ids=str)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_training_runs_with_each_way_of_mixing_and_learns_other_weights(tmp_path, mixing, smoothing):
    plain = trainer(tmp_path / "plain")
    plain.fit()
    ours = trainer(tmp_path / "ours", **MIXED | {"mixing": mixing, "label_smoothing": smoothing})
    ours.fit()
    assert all(math.isfinite(loss) for loss in ours.log.curve("step_loss").values())
    same = all(map(torch.equal, ours.model.state_dict().values(), plain.model.state_dict().values()))
    assert same == (not mixing and not smoothing)


@pytest.mark.parametrize("changes", WAYS.values(), ids=WAYS)
def test_each_way_of_training_learns_weights_of_its_own(tmp_path, changes):
    plain, ours = trainer(tmp_path / "plain"), trainer(tmp_path / "ours", **changes)
    plain.fit()
    ours.fit()
    assert all(math.isfinite(loss) for loss in ours.log.curve("step_loss").values())
    same = all(map(torch.equal, ours.model.state_dict().values(), plain.model.state_dict().values()))
    assert same == (changes in (WAYS["plain"], WAYS["ema"]))


def test_micro_batches_give_the_weights_of_whole_batches(tmp_path):
    whole, parts = trainer(tmp_path / "whole", **MIXED), trainer(tmp_path / "parts", **MIXED | {"accumulation": 4})
    whole.fit()
    parts.fit()
    torch.testing.assert_close(parts.model.state_dict(), whole.model.state_dict(), rtol=1e-5, atol=1e-6)
    assert parts.log.curve("train_loss") == pytest.approx(whole.log.curve("train_loss"))


def test_the_average_is_that_of_a_plain_loop_that_averages_after_every_step(tmp_path):
    ours = trainer(tmp_path, schedule={"kind": "constant"}, ema_decay=0.5)
    ours.fit()
    torch.manual_seed(0)
    model = Net()
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    average = [parameter.detach().clone() for parameter in model.parameters()]
    for step, batch in enumerate(batch for epoch in range(3) for batch in Batches().epoch(epoch)):
        optimizer.zero_grad()
        cross_entropy(model(batch.images), batch.labels).backward()
        optimizer.step()
        share = min(0.5, (1 + step) / (10 + step))
        average = [share * a + (1 - share) * w.detach() for a, w in zip(average, model.parameters(), strict=True)]
    torch.testing.assert_close(list(ours.average.state_dict().values()), average)


def test_the_learning_rate_is_that_of_the_batch_for_the_one_of_the_reference(tmp_path):
    ours = trainer(
        tmp_path,
        schedule={"kind": "constant"},
        loader={"global_batch": 8, "lanes": 2},
        optimizer={"lr": 0.05, "lr_reference_batch": 4},
    )
    ours.fit()
    assert set(ours.log.curve("learning_rate").values()) == {0.1}


@pytest.mark.parametrize("changes", WAYS.values(), ids=WAYS)
def test_a_training_that_was_stopped_ends_with_the_very_weights_of_an_undisturbed_one(tmp_path, changes):
    undisturbed = trainer(tmp_path / "a", **changes)
    assert undisturbed.fit() == 3
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "b", stop_after=3, **changes).fit()
    resumed = trainer(tmp_path / "b", **changes)
    assert resumed.fit() == 1
    torch.testing.assert_close(resumed.model.state_dict(), undisturbed.model.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(resumed.average.state_dict(), undisturbed.average.state_dict(), rtol=0, atol=0)
    assert [path.name for path in newest_first(tmp_path / "b")] == ["epoch-0003.pt", "epoch-0002.pt"]


class Interrupted(Batches):
    """Something happens to this process before it has the batch of step `at`, counted through all epochs."""

    def __init__(self, at, event):
        self.at = at
        self.event = event

    def epochs(self, epochs, start_step=0):
        first = epochs.start * self.steps_per_epoch + start_step
        for step, batch in enumerate(super().epochs(epochs, start_step), start=first):
            if step == self.at:
                self.event()
            yield batch


def asked_to_stop():
    os.kill(os.getpid(), signal.SIGTERM)


def power_cut():
    raise KeyboardInterrupt


def curves_of_epochs(trainer):
    return {key: trainer.log.curve(key) for key in ("train_loss", "train_top1_error", "val_top1_error")}


def resumed(interrupted, whole, changes):
    """Goes on where `interrupted` ended and compares with the undisturbed one."""
    after = trainer(interrupted.checkpoints, **changes)
    after.fit()
    torch.testing.assert_close(after.model.state_dict(), whole.model.state_dict(), rtol=0, atol=0)
    assert after.average.state_dict() is None or all(
        map(torch.equal, after.average.state_dict().values(), whole.average.state_dict().values())
    )
    for key, curve in curves_of_epochs(whole).items():
        both = interrupted.log.curve(key) | after.log.curve(key)
        assert both == pytest.approx(curve, rel=1e-12)


@pytest.mark.parametrize("step", range(14))
def test_sigterm_at_any_step_saves_there_and_the_same_training_goes_on_as_if_nothing_had_been(tmp_path, capsys, step):
    whole = trainer(tmp_path / "whole")
    whole.fit()
    interrupted = trainer(tmp_path / "interrupted")
    interrupted.loader = Interrupted(step, asked_to_stop)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        interrupted.fit()
    assert ended.value.code == STATUS == 143
    assert signal.getsignal(signal.SIGTERM) is before
    assert f"stopped by SIGTERM after step {step + 2}; the same command goes on" in capsys.readouterr().out
    resumed(interrupted, whole, {})


@pytest.mark.parametrize("changes", WAYS.values(), ids=WAYS)
def test_a_training_that_ends_in_the_middle_of_an_epoch_goes_on_from_its_last_checkpoint(tmp_path, changes):
    whole = trainer(tmp_path / "whole", **changes)
    whole.fit()
    often = changes | {"checkpoint_every_steps": 3}
    interrupted = trainer(tmp_path / "interrupted", **often)
    interrupted.loader = Interrupted(8, power_cut)
    with pytest.raises(KeyboardInterrupt):
        interrupted.fit()
    assert [path.name for path in newest_first(interrupted.checkpoints)] == [
        "epoch-0001-step-00000006.pt",
        "epoch-0001.pt",
    ]
    resumed(interrupted, whole, often)


def test_clipping_is_of_the_same_length_in_float16(tmp_path):
    plain = trainer(tmp_path / "plain", clip_norm=0.05)
    ours = trainer(tmp_path / "ours", clip_norm=0.05, precision="float16")
    ours.precision = Precision("float16", "cpu", first_scale=2.0**10)
    for training in (plain, ours):
        training.fit()
    torch.testing.assert_close(ours.model.state_dict(), plain.model.state_dict(), rtol=0.02, atol=0.002)


def test_a_finished_training_is_not_run_again(tmp_path):
    trainer(tmp_path).fit()
    assert trainer(tmp_path).fit() == 0


def test_metrics_have_a_step_axis_and_an_epoch_axis(tmp_path):
    ours = trainer(tmp_path)
    ours.fit()
    assert list(ours.log.curve("step_loss")) == [2, 4, 5, 6, 8, 10, 12, 14, 15]
    assert list(ours.log.curve("train_loss")) == list(ours.log.curve("val_top1_error")) == [1, 2, 3]
    assert all(speed > 0 for speed in ours.log.curve("images_per_s").values())


def test_training_metrics_are_averages_over_all_images_of_the_epoch(tmp_path):
    ours = trainer(tmp_path, epochs=1, optimizer={"lr": 1e-12})
    ours.fit()
    with torch.no_grad():
        batches = list(Batches().epoch(0))
        logits = ours.model(torch.cat([batch.images for batch in batches]))
        labels = torch.cat([batch.labels for batch in batches])
    ((_, expected),) = [(step, m) for step, m in ours.log.metrics if "train_loss" in m]
    assert math.isclose(expected["train_loss"], float(cross_entropy(logits, labels)), rel_tol=1e-5)
    assert expected["train_top1_error"] == float((logits.argmax(1) != labels).double().mean())
    assert expected["train_top5_error"] == 0  # there are two classes


def test_an_image_counts_as_wrong_for_top_5_if_five_other_classes_score_higher():
    logits = torch.tensor([[9.0, 8, 7, 6, 5, 4]]).repeat(6, 1)
    sums = Sums()
    sums.add(torch.tensor(0.5), logits, torch.arange(6))
    sums.add(torch.tensor(1.0), logits[:1], torch.zeros(1, dtype=torch.int64))
    assert sums.total().tolist() == [3 + 1, 5, 1, 7]  # loss, wrong for top-1 and top-5, images


def test_the_training_error_is_against_the_labels_of_the_larger_share(tmp_path):
    errors = []
    for shares in ((1.0, 0.0), (0.4, 0.6)):
        ours = trainer(tmp_path, epochs=1, optimizer={"lr": 1e-12})
        ours.mix = partial(other_class, shares)
        errors.append(one_epoch(ours, 0)["train_top1_error"])
    assert 0 < errors[0] < 1
    assert errors[0] + errors[1] == 1


def one_epoch(trainer, epoch):
    trainer.progress = Silence()
    trainer.step = epoch * trainer.loader.steps_per_epoch
    return trainer.train_one_epoch(epoch, trainer.loader.epoch(epoch), Stop(trainer.workers))


def other_class(shares, images, labels, step):
    """Each image has a share of its own class and one of the other; there are two."""
    return Mixed(images, tuple(sorted(zip(shares, (labels, 1 - labels), strict=True), reverse=True)))


class SlowBatches(Batches):
    WAITS_S = 0.05

    def epoch(self, epoch, start_step=0):
        for batch in super().epoch(epoch, start_step):
            time.sleep(self.WAITS_S)
            yield batch


class Twins(Solo):
    """Two workers, the other one's figures the same as this one's."""

    size = 2

    def sum(self, values):
        return 2 * values


@pytest.mark.parametrize("workers", [Solo(), Twins()])
def test_an_epoch_says_which_part_of_it_was_spent_waiting_for_input(tmp_path, workers):
    ours = trainer(tmp_path, epochs=2)
    ours.workers = workers
    one_epoch(ours, 0)  # the first steps of a process take long
    assert 0 <= one_epoch(ours, 1)["input_wait_fraction"] < 1
    ours.loader = SlowBatches()
    started = time.monotonic()
    waited = one_epoch(ours, 1)["input_wait_fraction"]
    assert SlowBatches.WAITS_S * ours.loader.steps_per_epoch <= waited * (time.monotonic() - started)
    assert waited < 1


def test_without_a_terminal_progress_is_a_line_an_epoch(tmp_path, capsys):
    trainer(tmp_path).fit()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert "val top-1 error 50.00%" in lines[0]
    assert "images/s" in lines[0]
    assert re.search(r"  waited \d+% for input  ", lines[0])
    assert "s left" in lines[0]


def scripted(trainer, errors):
    """The validation errors of epoch after epoch."""
    trainer.validate = lambda model: {"val_top1_error": errors[len(trainer.val_errors)], "val_top5_error": 0.0}
    return trainer


def test_a_plateau_of_the_validation_error_lowers_the_learning_rate_of_the_epochs_after_it(tmp_path):
    schedule = {"kind": "plateau", "patience_epochs": 2, "max_reductions": 1}
    ours = scripted(trainer(tmp_path, epochs=6, schedule=schedule), [0.5, 0.4, 0.4, 0.45, 0.4, 0.4])
    ours.fit()
    rates = list(ours.log.curve("learning_rate").values())
    assert rates == pytest.approx([0.1] * 12 + [0.01] * 6)


ERRORS = [0.5, 0.3, 0.4, 0.3, 0.4, 0.2]


def test_a_training_stops_early_when_the_validation_error_no_longer_improves_and_stays_stopped(tmp_path, capsys):
    assert scripted(trainer(tmp_path, epochs=6, early_stop_epochs=3), ERRORS).fit() == 5
    assert "stopped after epoch 5: the top-1 error on the validation images has not improved on 30.00%" in (
        capsys.readouterr().out
    )
    assert scripted(trainer(tmp_path, epochs=6, early_stop_epochs=3), ERRORS).fit() == 0


def test_early_stopping_counts_the_epochs_before_an_interruption(tmp_path):
    def interrupted(model):
        raise KeyboardInterrupt

    first = scripted(trainer(tmp_path, epochs=6, early_stop_epochs=3), ERRORS)
    validate = first.validate
    first.validate = lambda model: interrupted(model) if len(first.val_errors) == 3 else validate(model)
    with pytest.raises(KeyboardInterrupt):
        first.fit()
    assert scripted(trainer(tmp_path, epochs=6, early_stop_epochs=3), ERRORS).fit() == 2


def test_one_improvement_in_time_keeps_a_training_going(tmp_path):
    assert scripted(trainer(tmp_path, epochs=6, early_stop_epochs=3), [0.5, 0.4, 0.4, 0.4, 0.3, 0.3]).fit() == 6


class Poisoned(Net):
    """Gives no number for one batch, known by its first image."""

    def __init__(self, epoch, step):
        super().__init__()
        self.image = [batch.images[0] for batch in Batches().epoch(epoch)][step]

    def forward(self, images):
        factor = math.inf if torch.equal(images[0], self.image) else 1.0
        return super().forward(images) * factor


def test_a_loss_that_is_no_number_ends_training_names_its_images_and_keeps_the_checkpoint_before(tmp_path):
    ours = trainer(tmp_path / "checkpoints")
    ours.model = Poisoned(epoch=1, step=2)
    ours.model.load_state_dict(trainer(tmp_path).model.state_dict())
    ours.optimizer = make_optimizer(ours.model, ours.settings.optimizer)
    with pytest.raises(InputError) as caught:
        ours.fit()
    assert str(caught.value).startswith(
        "the loss became infinite or not a number at step 8, found at step 8; its images: image-1-2-0, image-1-2-1,"
    )
    assert f"{tmp_path}/diverged.tsv lists those of steps 6 to 8." in str(caught.value)
    assert [path.name for path in newest_first(tmp_path / "checkpoints")] == ["epoch-0001.pt"]
    assert all(map(math.isfinite, ours.log.curve("step_loss").values()))


def test_weights_that_an_epochs_last_step_spoils_are_not_saved(tmp_path):
    ours = trainer(tmp_path / "checkpoints", epochs=1)
    ours.clip = lambda parameters: [parameter.grad.mul_(math.nan) for parameter in parameters]
    ours.loader.steps_per_epoch = 1
    with pytest.raises(InputError, match=r"the weights became infinite or not a number at step 1, .*image-0-0-0"):
        ours.fit()
    assert not newest_first(tmp_path / "checkpoints")


class FromRank0(Solo):
    """Another rank: it is given weights of ones."""

    def share_weights(self, model):
        for tensor in model.state_dict().values():
            tensor.fill_(1)


def test_every_worker_validates_the_weights_and_the_average_that_rank_0_saves(tmp_path):
    ours, validated = trainer(tmp_path, epochs=1, ema_decay=0.9), []
    ours.workers = FromRank0()
    validate = ours.validate
    ours.validate = lambda model: (
        validated.append(float(model.state_dict()["layer.1.weight"].mean())) or validate(model)
    )
    ours.fit()
    assert validated == [1, 1]
    assert "ema_val_top1_error" in ours.log.metrics[-1][1]
