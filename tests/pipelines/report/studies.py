"""Studies as plain values: what the store would hold after trainings, evaluations and an ensemble."""

import io

import numpy as np
from PIL import Image

from pipelines.report.facts import Facts
from pipelines.tracking.logged import LoggedRun, LoggedStudy

DIGEST = "0123456789abcdef" * 4
CLASSES = (
    "class,name,images,top1_accuracy,most_taken_for,times\n"
    "0,cat,10,1.000000,,0\n1,dog & bone,20,0.900000,cat,2\n2,none there,0,,,0\n"
)
PAIRS = "label,predicted,images,share_of_label\ndog & bone,cat,2,0.100000\n"
MISTAKES = (
    "key,label,predicted,probability_of_predicted,loss\nval/7.png,dog & bone,cat,0.987654,4.5000\n"
    "val/9.png,dog & bone,cat,0.600000,1.2000\n"
)
SETTINGS = (
    "dataset: folder/pets\nmodel:\n  name: lenet5_modern\n  options: {}\nepochs: 3\nseed: %s\nseeds: []\nname: ''\n"
    "tracking:\n  experiment: pets\n"
)


def png(width=40, height=30, seed=0):
    """A picture of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def judged(top1, top5=0.0, images=1000, prefix="eval"):
    """As an evaluation's metrics are."""
    values = {"top1_error": top1, "top5_error": top5, "images": images, "calibration_error": 0.015}
    bounds = {
        f"{name}_{end}": max(0.0, error + by)
        for name, error in (("top1_error", top1), ("top5_error", top5))
        for end, by in (("low", -0.01), ("high", 0.01))
    }
    return {f"{prefix}_{name}": value for name, value in (values | bounds).items()}


def evaluated(protocol="as_trained"):
    """Artifacts that an evaluation leaves."""
    files = {
        "classes.csv": CLASSES.encode(), "confused_pairs.csv": PAIRS.encode(), "mistakes.csv": MISTAKES.encode(),
        "confusion.png": png(seed=1), "reliability.png": png(seed=2), "mistakes.png": png(seed=3),
    }  # fmt: skip
    return {f"evaluation/{protocol}/{name}": content for name, content in files.items()}


def training(seed=1, metrics=None, files=None, **changes):
    """Of LeNet-5 for three epochs, finished."""
    name = f"lenet5_modern-pets-seed{seed}"
    artifacts = {"settings.yaml": (SETTINGS % seed).encode(), "samples.png": png(), "filters.png": png()} | (
        files or {}
    )
    values = {
        "run_id": f"id{seed}",
        "name": name,
        "kind": "training",
        "status": "FINISHED",
        "started_ms": 1_000_000 + seed,
        "ended_ms": 1_150_000 + seed,
        "parameters": {
            "model.name": "lenet5_modern", "dataset": "folder/pets", "seed": str(seed), "epochs": "3", "workers": "2",
            "name": "",
        },
        "tags": {
            "strata.dataset_digest": DIGEST, "strata.layers": "5", "strata.parameters": "61706", "strata.workers": "2",
            "mlflow.source.git.commit": "abcdef0123456789", "strata.git_changed": "false", "strata.version": "0.1.0",
            "strata.hosts": "1 x (A processor, 2 cores)",
        },
        "metrics": {"val_loss": 0.25, "val_top1_error": 0.05, "val_top5_error": 0.0} | (metrics or {}),
        "curves": {
            "train_loss": {1: 2.0, 2: 1.0, 3: 0.5}, "val_loss": {1: 1.5, 2: 0.5, 3: 0.25},
            "train_top1_error": {1: 0.8, 2: 0.4, 3: 0.2}, "val_top1_error": {1: 0.6, 2: 0.1, 3: 0.05},
            "learning_rate": {1: 0.1, 2: 0.05, 3: 0.0}, "images_per_s": {1: 100.0, 2: 1200.0, 3: 1300.0},
            "input_wait_fraction": {1: 0.02, 2: 0.01, 3: 0.03},
        },
        "load": {"cpu_utilization_percentage": 71.4, "system_memory_usage_megabytes": 3210.0},
        "artifact": artifacts.get,
    }  # fmt: skip
    return LoggedRun(**(values | changes))


def ensemble(members, top1=0.02, gain=0.03, files=None, **changes):
    """Of those trainings, with its curve."""
    artifacts = evaluated() | {"evaluation/as_trained/agreement.png": png(seed=4)} | (files or {})
    values = {
        "run_id": "id-ensemble",
        "name": "pets-ensemble",
        "kind": "ensemble",
        "status": "FINISHED",
        "started_ms": 2_000_000,
        "ended_ms": 2_010_000,
        "parameters": {
            "members": " ".join(run.run_id for run in members), "protocol": "as_trained", "combine": "probabilities",
            "name": "pets-ensemble", "greedy": "7",
        },
        "tags": {"strata.dataset_digest": DIGEST},
        "metrics": judged(top1) | {
            "gain_over_median_member": gain, "median_member_top1_error": top1 + gain, "mean_pairwise_agreement": 0.95,
            "greedy_top1_error": 0.018, "greedy_members": 2.0,
        },
        "curves": {"curve_top1_error": {1: 0.05, 2: 0.03}, "curve_top5_error": {1: 0.01, 2: 0.0}},
        "artifact": artifacts.get,
    }  # fmt: skip
    return LoggedRun(**(values | changes))


def facts(*runs, manifest=None, name="pets"):
    """Of a study of these runs."""
    return Facts(LoggedStudy(name, tuple(sorted(runs, key=lambda run: (run.name, run.started_ms)))), manifest)


def whole(manifest=None):
    """Two evaluated trainings and their ensemble."""
    members = [training(1, judged(0.05, 0.01), evaluated()), training(2, judged(0.04), evaluated())]
    return facts(*members, ensemble(members), manifest=manifest)


def words(blocks):
    """All that paragraphs among the blocks say."""
    return "\n".join("".join(block.parts) for block in blocks if hasattr(block, "parts"))


def tables(section):
    """By their titles."""
    return {block.title: block for block in section.blocks if hasattr(block, "headings")}
