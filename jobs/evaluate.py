"""Errors and predictions of trained runs: `horovodrun -np N python jobs/evaluate.py CONF.yaml [key=value …]`."""

import json
from pathlib import Path
from typing import Any

from pipelines.command_line import run
from pipelines.config import EvaluateSettings, HorovodSettings, LoaderSettings, TrainSettings
from pipelines.dataset.manifest import Manifest
from pipelines.evaluation.metrics import validate
from pipelines.evaluation.predictions import PredictionWriter
from pipelines.loading.device import DeviceLoader, copier_for
from pipelines.loading.loader import Loader
from pipelines.training.checkpoint import read_checkpoint
from pipelines.training.classifier import restore_classifier
from pipelines.training.workers import Workers, choose_device, connected, share_manifest


def main(settings: EvaluateSettings) -> None:
    with connected(HorovodSettings()) as workers:
        manifest = share_manifest(settings.dataset, workers)
        for trained in runs_to_evaluate(settings, workers):
            metrics = evaluate(settings, manifest, workers, trained)
            if workers.rank == 0:
                record(settings, trained, metrics)
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


def evaluate(
    settings: EvaluateSettings, manifest: Manifest, workers: Workers, trained: dict[str, Any]
) -> dict[str, float]:
    """Predict every validation image with one run's newest checkpoint; write the predictions, return the metrics."""
    checkpoint = read_checkpoint(Path(trained["checkpoint"]), workers)
    device = choose_device(settings.device, workers)
    model = restore_classifier(checkpoint, manifest, trained["name"], settings.average).to(device)
    transforms = TrainSettings.model_validate(checkpoint.about["settings"]).loader.val_transforms
    loading = LoaderSettings(
        global_batch=settings.global_batch,
        lanes=1,
        decode_threads=settings.decode_threads,
        val_transforms=transforms,
    )
    loader = Loader(
        settings.dataset,
        manifest,
        "val",
        loading,
        rank=workers.rank,
        workers=workers.size,
        pin_memory=device.type == "cuda",
    )
    with PredictionWriter(
        settings.predictions, trained["run_id"], manifest.digest, workers.rank, workers.wait_for_all
    ) as writer:
        return validate(model, DeviceLoader(loader, copier_for(device)).epoch(0), workers.sum, writer.write)


def record(settings: EvaluateSettings, trained: dict[str, Any], metrics: dict[str, float]) -> None:
    """Put the metrics on the run and on the screen."""
    from pipelines.tracking.tracker import MlflowTracker

    evaluated = {key.replace("val_", "eval_"): value for key, value in metrics.items()}
    MlflowTracker.reopen(settings.tracking, trained["run_id"]).log_metrics(evaluated, step=0)
    print(
        f"{trained['name']}: top-1 error {metrics['val_top1_error']:.2%}, top-5 {metrics['val_top5_error']:.2%}, "
        f"{metrics['val_images']:.0f} images, predictions in {settings.predictions / trained['run_id']}",
        flush=True,
    )


if __name__ == "__main__":
    run(EvaluateSettings, main, "horovodrun -np N python jobs/evaluate.py")
