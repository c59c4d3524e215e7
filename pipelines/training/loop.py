"""The training loop: batches to weights, epoch after epoch, from wherever a checkpoint left off."""

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from models.classifier import Loss
from models.heads import main_logits
from pipelines.config import InputError, TrainSettings
from pipelines.training.averaging import Average, Validate
from pipelines.training.checkpoint import Checkpoint, save
from pipelines.training.divergence import FiniteWatch
from pipelines.training.figures import Sums, averages, images_of, no_sums
from pipelines.training.mixing import Mix
from pipelines.training.optimization import Clip, load_state, set_lr
from pipelines.training.precision import Precision
from pipelines.training.progress import Progress, Silence
from pipelines.training.randomness import seed_step
from pipelines.training.recovery import Recovery, Restart
from pipelines.training.schedules import lr_factor, plateaus
from pipelines.training.stopping import Stop, listening
from pipelines.training.waiting import InputWait, clock_of
from pipelines.training.workers import Workers


class LabelledImages(Protocol):
    """This worker's part of a batch, on its device: images uint8 (N, H, W, C), labels int64 (N,), N keys."""

    @property
    def images(self) -> Tensor: ...
    @property
    def labels(self) -> Tensor: ...
    @property
    def keys(self) -> tuple[str, ...]: ...


class TrainLoader(Protocol):
    """A training split for this worker, as batches on its device."""

    @property
    def steps_per_epoch(self) -> int: ...
    def epochs(self, epochs: range, start_step: int = 0) -> Generator[LabelledImages, None, None]: ...


class MetricLog(Protocol):
    """Where figures of the training go."""

    def log_metrics(self, metrics: dict[str, float], step: int) -> None: ...


class SilentLog:
    """The in-process twin of a tracker: for ranks other than 0, and for tests."""

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        pass


@dataclass
class Trainer:
    """One training: what is trained, on what, by whom. `fit` runs it."""

    model: nn.Module
    """Stored or mixed images to logits, in training perhaps to several heads (models/heads.py), on `device`."""
    optimizer: Optimizer
    """Already shared between the workers."""
    loader: TrainLoader
    mix: Mix
    """A batch to what is trained on."""
    clip: Clip
    average: Average
    """Of the model."""
    validate: Validate
    workers: Workers
    settings: TrainSettings
    device: torch.device
    checkpoints: Path
    about: dict[str, Any]
    """Kept in every checkpoint: see Checkpoint.about."""
    log: MetricLog = field(default_factory=SilentLog)
    progress: Progress = field(default_factory=Silence)
    loss: Loss = cross_entropy
    """What is minimised, of the model's logits."""
    precision: Precision = field(default_factory=partial(Precision, "float32", "cpu"))
    """For `device`."""
    recovery: Recovery = field(default_factory=Restart)
    val_errors: list[float] = field(default_factory=list)
    """Top-1 error on the validation images after each epoch done."""
    step: int = 0
    """Steps done, counted through all epochs."""
    epoch_sums: Tensor = field(default_factory=no_sums)
    """Of the epoch that has begun: see figures.Sums."""

    def fit(self) -> int:
        """Train from the newest good checkpoint, or from the start, to the end; how many epochs that took.

        SIGTERM ends it at the next step, with a checkpoint.
        """
        self.resume()
        first_epoch, steps = len(self.val_errors), self.loader.steps_per_epoch
        epochs = range(first_epoch, self.settings.epochs)
        self.progress.begin(self.step, epochs.stop, steps)
        with (
            listening(self.workers, self.recovery.hosts_changed) as stop,
            closing(self.progress),
            closing(self.loader.epochs(epochs, self.step - first_epoch * steps)) as batches,
        ):
            for epoch in epochs:
                if self.improves_no_more():
                    break
                metrics = self.train_one_epoch(epoch, batches, stop) | self.validate_all()
                self.log.log_metrics(metrics, step=epoch + 1)
                self.save()
                self.progress.epoch(epoch + 1, metrics)
            stop.finish()
        return len(self.val_errors) - first_epoch

    def train_one_epoch(self, epoch: int, batches: Iterator[LabelledImages], stop: Stop) -> dict[str, float]:
        """The steps of an epoch that are not done yet.

        Its loss and top-1 error over all workers' images, those before a resumption included; speed and input wait.
        batches: the split's, from the next step on; those of the epoch are taken.
        """
        self.model.train()
        settings, steps = self.settings, self.loader.steps_per_epoch
        end, micro_batches = (epoch + 1) * steps, settings.micro_batches(self.workers.size)
        recent, images_before = Sums(), images_of(self.epoch_sums)
        wait, watch = InputWait(clock_of(self.device)), FiniteWatch(self.workers, self.checkpoints.parent)
        for step, batch in enumerate(wait.timed(islice(batches, end - self.step)), start=self.step):
            lr = settings.peak_lr * lr_factor(settings.schedule, step, steps, settings.epochs, self.val_errors)
            set_lr(self.optimizer, lr)
            self.optimizer.zero_grad()
            seed_step(settings.seed, step, self.workers.rank, self.device)
            for part in self.mix(batch.images, batch.labels, step).parts(micro_batches):
                with self.precision.autocast():
                    outputs = self.model(part.images)
                    loss = part.loss(outputs, settings.label_smoothing, self.loss)
                self.precision.scaled(loss, micro_batches * self.workers.summands).backward()
                recent.add(loss, main_logits(outputs), part.labels)
            self.workers.average_gradients()
            self.precision.unscale(self.optimizer)
            self.clip(self.model.parameters())
            self.precision.step(self.optimizer)
            self.average.follow(step)
            self.step = step + 1
            watch.saw(step, batch.keys, recent.losses[-micro_batches:])
            stopping = stop.agreed()
            saving = stopping or (self.step < end and settings.saves_after(self.step))
            committing = saving or (self.step < end and self.recovery.commits_after(self.step))
            if committing or self.step == end or self.step % settings.tracking.log_every_steps == 0:
                total, recent = self.workers.sum(recent.total()), Sums()
                watch.check_loss(float(total[0]))
                figures = averages(total, "step") | {"learning_rate": lr}
                self.log.log_metrics(figures, step=self.step)
                self.progress.steps(self.step, figures, images_of(total), wait.fraction)
                self.epoch_sums += total
            if committing:
                watch.check_weights(self.model)
                self.save(on_disk=saving)
            if stopping:
                self.end_early(stop.heard)
        watch.check_weights(self.model)
        waited = self.workers.sum(torch.tensor([wait.fraction])) / self.workers.size
        speed = {
            "images_per_s": (images_of(self.epoch_sums) - images_before) / wait.elapsed_s,
            "input_wait_fraction": float(waited),
        }
        metrics, self.epoch_sums = averages(self.epoch_sums, "train"), no_sums()
        return metrics | speed

    def validate_all(self) -> dict[str, float]:
        """Metrics of the model and of its average, if there is one; the model's top-1 error joins `val_errors`.

        Every worker validates what rank 0 saves: their normalisation layers have seen other images than its own.
        """
        self.workers.share_weights(self.model)
        self.average.share(self.workers)
        metrics = self.validate(self.model)
        self.val_errors.append(metrics["val_top1_error"])
        return metrics | self.average.metrics(self.validate)

    def resume(self) -> None:
        """Go back to the newest good checkpoint of rank 0, on every worker."""
        content = self.workers.share_bytes(self.recovery.newest(self.checkpoints) if self.workers.rank == 0 else None)
        if not content:
            self.workers.share_weights(self.model)
            self.average.restart()
            return
        checkpoint = Checkpoint.from_bytes(content, f"the newest checkpoint in {self.checkpoints}")
        self.model.load_state_dict(checkpoint.model)
        load_state(self.optimizer, checkpoint.optimizer)
        self.average.load_state_dict(checkpoint.average)
        self.precision.load_state_dict(checkpoint.precision)
        self.val_errors = list(checkpoint.val_errors)
        self.step, self.epoch_sums = checkpoint.step, torch.tensor(checkpoint.epoch_sums, dtype=torch.float64)
        self.progress.say(
            f"going on after epoch {checkpoint.epoch} of {self.settings.epochs}, step {checkpoint.step}, "
            f"from {self.checkpoints}"
        )
        if checkpoint.epoch > self.settings.epochs:
            raise InputError(
                f"{self.checkpoints}: has {checkpoint.epoch} epochs, more than the {self.settings.epochs} asked for"
            )

    def save(self, on_disk: bool = True) -> None:
        """Commit the state, which is the same on all workers; of a checkpoint `on_disk`, rank 0 writes it."""
        checkpoint = Checkpoint(
            epoch=len(self.val_errors),
            step=self.step,
            epoch_sums=self.epoch_sums.tolist(),
            model=self.model.state_dict(),
            optimizer=self.optimizer.state_dict(),
            val_errors=self.val_errors,
            average=self.average.state_dict(),
            about=self.about,
            precision=self.precision.state_dict(),
        )
        self.recovery.commit(checkpoint)
        if on_disk and self.workers.rank == 0:
            save(checkpoint, self.checkpoints, self.settings.keep_best)

    def end_early(self, told: str) -> NoReturn:
        """Once the checkpoint is written. told: the signal that this worker got, if it got one."""
        self.workers.wait_for_all()  # a launcher ends the others, rank 0 at its checkpoint, when one worker has ended
        self.progress.close()
        self.recovery.leave(self.step, self.workers.rank, told)

    def improves_no_more(self) -> bool:
        """Whether early stopping ends the training here; says so."""
        patience_epochs = self.settings.early_stop_epochs
        if patience_epochs is None or not plateaus(self.val_errors, patience_epochs):
            return False
        self.progress.say(
            f"stopped after epoch {len(self.val_errors)}: the top-1 error on the validation images has not improved "
            f"on {min(self.val_errors):.2%} in {patience_epochs} epochs"
        )
        return True
