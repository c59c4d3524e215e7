"""Training steps of each network beside torchvision's twin, where it has one: images a second and memory.

    python -m benchmarks.models [--networks vgg_d,resnet50,…] [--batch 4] [--steps 3] [--device cpu] > report.md

Both run in torchvision's own environment, which stays under --cache. A step is forward, loss and backward of ImageNet's
size, on one thread where the device is the CPU; the two take turns in one process, so that a busy machine slows both.
Memory is measured in processes of its own. Where the architecture is the same, the twin's weights are loaded into ours
and the logits compared. Progress goes to stderr.
"""

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

import models
from benchmarks.loading_setup import FailedError, output_of, python_of
from benchmarks.models_step import TWINS

_OTHERS = ("alexnet", "googlenet")
"""Twins of another architecture."""


def main() -> None:
    asked = arguments()
    networks = asked.networks.split(",") if asked.networks else [name for name in models.names() if _is_large(name)]
    python = python_of("torch", asked.cache / "environments")
    print(
        f"{time.strftime('%Y-%m-%d')}, {asked.device}, load average {os.getloadavg()[0]:.1f} before, "
        f"torch {torch.__version__.partition('+')[0]}. Batches of {asked.batch}, channels last, medians of "
        f"{asked.steps} steps.\n\n"
        "| network | images/s | torchvision's | ours is, times | peak MB | torchvision's | logits differ by |\n"
        "|---|---:|---:|---:|---:|---:|---:|"
    )
    for name in networks:
        try:
            print(row(name, python, asked), flush=True)
        except FailedError as error:
            print(f"{name}: {error}", file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="", help="names, with commas; all for ImageNet if not given")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--cache", type=Path, default=Path("work/benchmarks"))
    return parser.parse_args()


def _is_large(name: str) -> bool:
    return min(models.input_size(name)) > 32


def row(name: str, python: Path, asked: argparse.Namespace) -> str:
    """Of the table. Raises FailedError."""
    sides = ["ours", "torchvision"] if name in TWINS else ["ours"]

    def measured(what: str, of: str, steps: int) -> dict[str, Any]:
        words = (what, name, of, asked.batch, steps, asked.device)
        answer: dict[str, Any] = json.loads(output_of(python, "-m", "benchmarks.models_step", *words))
        return answer

    seconds = measured("time", ",".join(sides), asked.steps)
    rate = {side: asked.batch / statistics.median(seconds[side]) for side in sides}
    peak = {side: measured("memory", side, 2)[side] / 1e6 for side in sides}
    cells = [name, f"{rate['ours']:.2f}", "", "", f"{peak['ours']:,.0f}", "", ""]
    if len(sides) > 1:
        times = statistics.median(map(_ratio, seconds["torchvision"], seconds["ours"]))
        cells[2:4] = f"{rate['torchvision']:.2f}", f"{times:.2f}"
        cells[5] = f"{peak['torchvision']:,.0f}"
        same = name not in _OTHERS
        cells[6] = f"{measured('compare', 'ours', 1)['difference']:.1e}" if same else "another architecture"
    return f"| {' | '.join(cells)} |"


def _ratio(theirs: float, ours: float) -> float:
    return theirs / ours


if __name__ == "__main__":
    main()
