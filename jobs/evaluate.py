"""Errors and predictions of trained runs: `horovodrun -np N python jobs/evaluate.py CONF.yaml [key=value …]`."""

import json
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import torch

from models.classifier import Classifier
from pipelines.command_line import run
from pipelines.config import EvaluateSettings, HorovodSettings, LoaderSettings, TrainSettings, Transform
from pipelines.dataset.lookup import split_keys, stored_images
from pipelines.dataset.manifest import Manifest
from pipelines.dataset.overlap import check_same_classes, check_unseen
from pipelines.evaluation.evaluate import evaluate
from pipelines.evaluation.mistakes import Mistake
from pipelines.evaluation.predictions import PredictionWriter, Source
from pipelines.evaluation.protocols import showing
from pipelines.evaluation.report import write_report
from pipelines.evaluation.tally import Evaluation
from pipelines.loading.device import DeviceLoader, copier_for
from pipelines.loading.loader import Loader
from pipelines.training.checkpoint import Checkpoint, read_checkpoint
from pipelines.training.classifier import restore_classifier
from pipelines.training.workers import Workers, choose_device, connected, share_manifest


def main(settings: EvaluateSettings) -> None:
    with connected(HorovodSettings()) as workers:
        manifest = share_manifest(settings.dataset, workers)
        for trained in runs_to_evaluate(settings, workers):
            evaluation, mistakes = evaluate_run(settings, manifest, workers, trained)
            if workers.rank == 0:
                record(settings, manifest, trained, evaluation, mistakes)
    if workers.rank == 0:
        print("next: spark-submit jobs/ensemble.py CONF.yaml")


def runs_to_evaluate(settings: EvaluateSettings, workers: Workers) -> list[dict[str, Any]]:
    """TrainedRun as dictionaries. Rank 0 asks MLflow, the others hear of it from rank 0."""
    answer = None
    if workers.rank == 0:
        from pipelines.tracking.runs import trained_runs

        runs = trained_runs(settings.tracking, settings.runs)
        answer = json.dumps([trained.to_dict() for trained in runs]).encode()
    heard: list[dict[str, Any]] = json.loads(workers.share_bytes(answer))
    return heard


def evaluate_run(
    settings: EvaluateSettings, manifest: Manifest, workers: Workers, trained: dict[str, Any]
) -> tuple[Evaluation, list[Mistake]]:
    """Predict every validation image with one run's newest checkpoint, and write the predictions."""
    checkpoint = read_checkpoint(Path(trained["checkpoint"]), workers)
    device = choose_device(settings.device, workers)
    model = restore(settings, manifest, workers, trained, checkpoint).to(device).eval()
    height, width = checkpoint.about["input_size"]
    as_trained = TrainSettings.model_validate(checkpoint.about["settings"]).loader.val_transforms
    protocol = showing(settings.protocol, model, (height, width), as_trained)
    source = Source(trained["run_id"], settings.protocol_label, manifest.digest, manifest.classes_digest)
    with (
        PredictionWriter(settings.predictions, source, workers.rank, workers.wait_for_all) as writer,
        ExitStack() as opened,
    ):
        of_scales = [
            make_loader(settings, manifest, workers, transforms, protocol.whole, device).epoch(0)
            for transforms in protocol.transforms
        ]
        for batches in of_scales:
            opened.enter_context(closing(batches))
        return evaluate(
            protocol.predict(zip(*of_scales, strict=True)),
            len(manifest.classes),
            settings.worst,
            workers.sum,
            workers.gather_bytes,
            writer.write,
        )


def restore(
    settings: EvaluateSettings, manifest: Manifest, workers: Workers, trained: dict[str, Any], checkpoint: Checkpoint
) -> Classifier:
    """The run's network, if the dataset can judge it."""
    name, own = trained["name"], manifest
    if settings.other_datasets and checkpoint.about["dataset_digest"] != manifest.digest:
        own = share_manifest(trained["dataset"], workers)
        check_same_classes(own, manifest, name)
        if workers.rank == 0:
            check_unseen(split_keys(settings.dataset, manifest, "val"), trained["dataset"], own, name)
    return restore_classifier(checkpoint, own, name, settings.average)


def make_loader(
    settings: EvaluateSettings,
    manifest: Manifest,
    workers: Workers,
    transforms: Sequence[Transform],
    whole: bool,
    device: torch.device,
) -> DeviceLoader:
    """This worker's share of the validation images."""
    loading = LoaderSettings(
        global_batch=settings.global_batch,
        lanes=1,
        decode_threads=settings.decode_threads,
        val_transforms=tuple(transforms),
    )
    loader = Loader(
        settings.dataset,
        manifest,
        "val",
        loading,
        rank=workers.rank,
        workers=workers.size,
        pin_memory=device.type == "cuda",
        pad_to_largest=whole,
    )
    return DeviceLoader(loader, copier_for(device))


def record(
    settings: EvaluateSettings,
    manifest: Manifest,
    trained: dict[str, Any],
    evaluation: Evaluation,
    mistakes: Sequence[Mistake],
) -> None:
    """Put metrics, tables and pictures on the run, and a line on the screen."""
    from pipelines.tracking.tracker import MlflowTracker

    label, metrics = settings.protocol_label, evaluation.metrics()
    files = write_report(
        settings.output / trained["name"] / label,
        evaluation,
        mistakes,
        manifest.class_names,
        lambda keys: stored_images(settings.dataset, manifest, "val", keys),
    )
    prefix = "eval" if label == "as_trained" else f"eval_{label}"
    tracker = MlflowTracker.reopen(settings.tracking, trained["run_id"])
    tracker.log_metrics({f"{prefix}_{key}": value for key, value in metrics.items()}, step=0)
    for path in files:
        tracker.log_file(path, f"evaluation/{label}")
    print(
        f"{trained['name']}: {label}, top-1 error {evaluation.top1_error:.2%} "
        f"({metrics['top1_error_low']:.2%} to {metrics['top1_error_high']:.2%}), top-5 {evaluation.top5_error:.2%}, "
        f"{evaluation.images} images, predictions in {settings.predictions / trained['run_id']}",
        flush=True,
    )


if __name__ == "__main__":
    run(EvaluateSettings, main, "horovodrun -np N python jobs/evaluate.py")
