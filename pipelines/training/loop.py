"""The training loop: batches to weights, epoch after epoch, from wherever a checkpoint left off."""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from models.classifier import Loss
from models.heads import main_logits
from pipelines.config import InputError, TrainSettings
from pipelines.training.checkpoint import Checkpoint, newest_good, save
from pipelines.training.mixing import Mix
from pipelines.training.optimization import lr_factor, set_lr
from pipelines.training.waiting import InputWait, clock_of
from pipelines.training.workers import Workers


class LabelledImages(Protocol):
    """This worker's part of a batch, on its device: images uint8 (N, H, W, C), labels int64 (N,)."""

    @property
    def images(self) -> Tensor: ...
    @property
    def labels(self) -> Tensor: ...


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


Validate = Callable[[nn.Module], dict[str, float]]


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
    validate: Validate
    """The model's metrics over the validation split, the same on every worker."""
    workers: Workers
    settings: TrainSettings
    device: torch.device
    checkpoints: Path
    about: dict[str, Any]
    """Kept in every checkpoint: see Checkpoint.about."""
    log: MetricLog = field(default_factory=SilentLog)
    loss: Loss = cross_entropy
    """What is minimised, of the model's logits."""

    def fit(self) -> int:
        """Train from the newest good checkpoint, or from the start, to the last epoch; how many epochs that took."""
        first_epoch = self.resume()
        started = time.monotonic()
        epochs = range(first_epoch, self.settings.epochs)
        with closing(self.loader.epochs(epochs)) as batches:
            for epoch in epochs:
                metrics = self.train_one_epoch(epoch, batches) | self.validate(self.model)
                self.log.log_metrics(metrics, step=epoch + 1)
                self.save(epoch + 1)
                if self.workers.rank == 0:
                    left_s = (time.monotonic() - started) / (epoch + 1 - first_epoch) * (epochs.stop - epoch - 1)
                    print(_progress(epoch + 1, epochs.stop, metrics, left_s), flush=True)
        return len(epochs)

    def train_one_epoch(self, epoch: int, batches: Iterator[LabelledImages]) -> dict[str, float]:
        """One pass over the training split; its loss and top-1 error over all workers' images, speed and input wait.

        batches: the split's, from this epoch on; those of the epoch are taken.
        """
        self.model.train()
        steps, log_every = self.loader.steps_per_epoch, self.settings.tracking.log_every_steps
        epoch_sums, recent_sums = _no_sums("cpu"), _no_sums(self.device)
        wait = InputWait(clock_of(self.device))
        started = time.monotonic()
        for step, batch in enumerate(wait.timed(islice(batches, steps)), start=epoch * steps):
            lr = self.settings.optimizer.lr * lr_factor(self.settings.schedule, step, steps, self.settings.epochs)
            set_lr(self.optimizer, lr)
            mixed = self.mix(batch.images, batch.labels, step)
            outputs = self.model(mixed.images)
            loss = mixed.loss(outputs, self.settings.label_smoothing, self.loss)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            recent_sums += _sums(loss, main_logits(outputs), mixed.labels)
            if (step + 1) % log_every == 0 or step + 1 == (epoch + 1) * steps:
                recent = self.workers.sum(recent_sums.cpu())
                self.log.log_metrics(_averages(recent, "step") | {"learning_rate": lr}, step=step + 1)
                epoch_sums += recent
                recent_sums = _no_sums(self.device)
        elapsed = time.monotonic() - started
        waited = self.workers.sum(torch.tensor([wait.seconds / elapsed])) / self.workers.size
        speed = {"images_per_s": float(epoch_sums[2]) / elapsed, "input_wait_fraction": float(waited)}
        return _averages(epoch_sums, "train") | speed

    def resume(self) -> int:
        """Go back to the newest good checkpoint of rank 0, on every worker; the epochs it had done."""
        content = self.workers.share_bytes(newest_good(self.checkpoints) if self.workers.rank == 0 else None)
        if not content:
            self.workers.share_weights(self.model)
            return 0
        checkpoint = Checkpoint.from_bytes(content, f"the newest checkpoint in {self.checkpoints}")
        self.model.load_state_dict(checkpoint.model)
        self.optimizer.load_state_dict(checkpoint.optimizer)
        torch.set_rng_state(checkpoint.generator)
        if self.workers.rank == 0:
            print(
                f"going on after epoch {checkpoint.epoch} of {self.settings.epochs}, from {self.checkpoints}",
                flush=True,
            )
        if checkpoint.epoch > self.settings.epochs:
            raise InputError(
                f"{self.checkpoints}: has {checkpoint.epoch} epochs, more than the {self.settings.epochs} asked for"
            )
        return checkpoint.epoch

    def save(self, epochs_done: int) -> None:
        """Rank 0 writes the checkpoint; all workers hold the same state."""
        if self.workers.rank == 0:
            steps_done = epochs_done * self.loader.steps_per_epoch
            model, optimizer = self.model.state_dict(), self.optimizer.state_dict()
            save(
                Checkpoint(epochs_done, steps_done, model, optimizer, torch.get_rng_state(), self.about),
                self.checkpoints,
            )


def _no_sums(device: torch.device | str) -> Tensor:
    return torch.zeros(3, dtype=torch.float64, device=device)


def _sums(loss: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """(loss, wrong, images), summed over the images of a batch, so that averages are over images, not workers.

    It stays on the device: to ask for a figure each step would keep the host from preparing the next one.
    """
    wrong = (logits.argmax(1) != labels).double()
    return torch.stack([loss.detach().double() * len(labels), wrong.sum(), torch.ones_like(wrong).sum()])


def _averages(sums: Tensor, prefix: str) -> dict[str, float]:
    loss, wrong, images = sums.tolist()
    return {f"{prefix}_loss": loss / images, f"{prefix}_top1_error": wrong / images}


def _progress(epoch: int, epochs: int, metrics: dict[str, float], left_s: float) -> str:
    return (
        f"epoch {epoch}/{epochs}  loss {metrics['train_loss']:.4f}  "
        f"val top-1 error {metrics['val_top1_error']:.2%}  top-5 {metrics['val_top5_error']:.2%}  "
        f"{metrics['images_per_s']:,.0f} images/s  waited {metrics['input_wait_fraction']:.0%} for input  "
        f"{left_s:.0f} s left"
    )
