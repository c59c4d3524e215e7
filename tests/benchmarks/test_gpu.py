import re

import pytest

from benchmarks.gpu import peak_flops, utilisation
from benchmarks.steps import Task
from tests.jobs.commands import call


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H100 NVL", 835e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("GRID A100X-40C", None),
        ("NVIDIA A1000 Laptop GPU", None),
        ("CPU", None),
    ],
)
def test_a_peak_is_that_of_the_very_device_or_none(name, peak):
    assert peak_flops(name) == peak


def test_utilisation_counts_six_operations_a_multiply_add():
    assert utilisation(Task("vgg_d", 224, 1), 1000.0, "NVIDIA A100-SXM4-80GB") == pytest.approx(
        6 * 15.47e9 * 1000 / 312e12, rel=1e-3
    )


def test_without_a_gpu_it_says_so_and_is_done(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert call("python", "-m", "benchmarks.gpu").startswith("No GPU that torch can use")


@pytest.mark.processes
def test_everything_but_the_gpu_runs_on_a_cpu(tmp_path):
    printed = call("python", "-m", "benchmarks.gpu", "--device", "cpu", "--smoke", "--cache", tmp_path)
    row = r"^\| lenet5_modern, 32 px \| [24] \| (no|yes) \| [\d,]+ \| [\d,]+ \| [\d.]+ \| none \| none \|$"
    assert re.findall(row, printed, re.M) == ["no", "yes"]
    assert re.search(r"lenet5_modern, batches of [24], .* from JPEG files .*loader alone [\d,]+ with", printed)
