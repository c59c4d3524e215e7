"""What a training pays for its tracking, and what is lost when MLflow or the training fail.

    python -m benchmarks.tracking FOLDER [--rounds 3] [--steps 300] [--faults 5]

A real MLflow server on loopback; the figures of both tables are of one run. FOLDER is for the spools and the store.
"""

import argparse
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import torch
from mlflow import MlflowClient
from torch.nn.functional import cross_entropy

import models
from benchmarks.mlflow_server import MlflowServer, first_time, proxied
from pipelines.allocator import keep_freed_memory
from pipelines.config import TrackingSettings
from pipelines.tracking.spool import Sent, entries, history, unsent
from pipelines.tracking.spooled import SpooledTracker
from pipelines.training.loop import MetricLog, SilentLog

BATCH = 64
KEYS = ("loss", "error", "learning_rate")
NOBODY = "http://127.0.0.1:9"
FAULTY_STEPS, PACE_S, REDONE = 2000, 0.01, 10
"""Of a training that faults are injected into: steps, seconds between them, steps done again after a kill."""
SENDER_START_S = 60


def settings(uri: str) -> TrackingSettings:
    return TrackingSettings(uri=uri, experiment="benchmark", wait_at_end_s=0)


# ---------------------------------------------------------------- steps


def timed_steps(log: MetricLog, steps: int) -> tuple[list[float], list[float], list[float]]:
    """Of each step of LeNet-5, which logs: seconds in all, of its logging, and of processor time for its logging."""
    torch.manual_seed(0)
    network = models.create("lenet5_modern", 10, 1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    images, labels = torch.randn(BATCH, 1, 32, 32), torch.zeros(BATCH, dtype=torch.long)
    whole, logging, processor = [], [], []
    for step in range(1, steps + 1):
        started = time.perf_counter()
        optimizer.zero_grad()
        loss = cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()
        computed, computed_cpu = time.perf_counter(), time.thread_time()
        log.log_metrics(dict.fromkeys(KEYS, float(loss.detach())), step)
        processor.append(time.thread_time() - computed_cpu)
        logging.append(time.perf_counter() - computed)
        whole.append(time.perf_counter() - started)
    return whole, logging, processor


def step_table(folder: Path, server: MlflowServer, rounds: int, steps: int) -> None:
    """Every round: without tracking, server up, server down, server hanging; each with a sender of its own."""
    uris = {"no tracking": "", "server up": server.uri, "server down": NOBODY, "server hangs": server.uri}
    medians: dict[str, list[float]] = {name: [] for name in uris}
    worst: dict[str, float] = dict.fromkeys(uris, 0)
    calls: dict[str, list[float]] = {name: [] for name in uris}
    for number in range(rounds):
        for name, uri in uris.items():
            with ExitStack() as stack:
                log: MetricLog = SilentLog()
                if uri:
                    tracker = SpooledTracker.begin(settings(uri), name, folder / f"{name} {number}")
                    stack.callback(tracker.close)
                    log = tracker
                    time.sleep(8)  # the sender's imports are over
                if name == "server hangs":
                    server.signal(signal.SIGSTOP)
                    stack.callback(server.signal, signal.SIGCONT)
                whole, logging, processor = timed_steps(log, steps)
            medians[name].append(statistics.median(whole[5:]))
            calls[name] += processor
            worst[name] = max(worst[name], *logging)
    print("| | step, ms | of no tracking | logging, us of processor time, median | logging, ms, worst |")
    print("|---|---:|---:|---:|---:|")
    for name in uris:
        ratios = [mine / base for mine, base in zip(medians[name], medians["no tracking"], strict=True)]
        print(
            f"| {name} | {statistics.median(medians[name]) * 1e3:.2f} | {statistics.median(ratios):.3f} "
            f"({min(ratios):.3f} to {max(ratios):.3f}) | {statistics.median(calls[name]) * 1e6:.0f} "
            f"| {worst[name] * 1e3:.2f} |",
            flush=True,
        )


# ---------------------------------------------------------------- faults


def train(folder: Path, uri: str) -> None:
    """A training that does nothing but log; prints the worst delay of a step so far whenever that grows, in ms."""
    tracker = SpooledTracker.begin(settings(uri), folder.name, folder)
    deadline = time.monotonic() + SENDER_START_S
    while not tracker.run_id and time.monotonic() < deadline:  # faults are for a sender that is at work
        time.sleep(0.1)
    done = max(history(entries(tracker.folder), KEYS)[KEYS[0]], default=0)
    worst = 0.0
    for step in range(max(1, done - REDONE + 1), FAULTY_STEPS + 1):
        started = time.perf_counter()
        tracker.log_metrics(dict.fromkeys(KEYS, 1 / step), step)
        if (delay := time.perf_counter() - started) > worst:
            worst = delay
            print(f"worst {worst * 1e3:.3f}", flush=True)
        time.sleep(PACE_S)
    with tracker:
        pass


Inject = Callable[[MlflowServer, "Training", int], None]


class Training:
    """The process of `train`, started again whenever it was killed."""

    def __init__(self, folder: Path, uri: str) -> None:
        self.folder, self._uri, self.worst_ms = folder, uri, 0.0
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "benchmarks.tracking", str(self.folder), "--train", self._uri]
        environment = os.environ | {"MLFLOW_HTTP_REQUEST_TIMEOUT": "2"}
        before = self._logged()
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        while self._logged() == before:
            time.sleep(0.05)

    def _logged(self) -> int:
        return sum(path.stat().st_size for path in self.folder.glob("spool/*/journal.jsonl"))

    def kill(self) -> None:
        self._process.kill()
        self.wait()

    def wait(self) -> None:
        for line in self._process.communicate()[0].splitlines():
            if line.startswith("worst"):
                self.worst_ms = max(self.worst_ms, float(line.split()[1]))


def soon() -> None:
    time.sleep(random.uniform(0.5, 3))


def kill_server(server: MlflowServer, training: Training, faults: int) -> None:
    for _ in range(faults):
        soon()
        server.kill()
        server.start()


def hang_server(server: MlflowServer, training: Training, faults: int) -> None:
    for _ in range(faults):
        soon()
        server.signal(signal.SIGSTOP)
        soon()
        server.signal(signal.SIGCONT)


def kill_training(server: MlflowServer, training: Training, faults: int) -> None:
    for _ in range(faults):
        soon()
        training.kill()
        training.start()


def fault_row(folder: Path, server: MlflowServer, name: str, inject: Inject | None, faults: int, uri: str) -> str:
    """Inject the faults, let the training end, send the rest, and compare the store with what was logged."""
    training = Training(folder / name, uri)
    if inject:
        inject(server, training, faults)
    training.wait()
    (spool,) = (folder / name).glob("spool/*")
    waiting = unsent(spool)
    if not server.is_running:
        server.start()
    sync = [sys.executable, "jobs/sync.py", str(spool), f"uri={uri}"]
    while subprocess.run(sync, capture_output=True, check=False).returncode:
        time.sleep(1)
    points: Counter[tuple[str, int]] = Counter()
    for key in KEYS:
        history_of_key = MlflowClient(server.uri).get_metric_history(Sent.of(spool).run_id, key)
        points.update((key, point.step) for point in history_of_key)
    wanted = [(key, step) for key in KEYS for step in range(1, FAULTY_STEPS + 1)]
    lost, twice = sum(point not in points for point in wanted), sum(count - 1 for count in points.values())
    return f"| {name} | {faults} | {len(wanted):,} | {waiting:,} | {lost} | {twice} | {training.worst_ms:.2f} |"


def fault_table(folder: Path, server: MlflowServer, faults: int) -> None:
    print(
        "\n| fault | times | points logged | entries left to jobs/sync.py | lost | twice | worst delay of a step, ms |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, inject in {
        "server hangs for seconds": hang_server,
        "kill -9 of the training": kill_training,
        "kill -9 of the server, restarted": kill_server,
    }.items():
        times = min(faults, 2) if inject is kill_server else faults  # a restart takes long
        print(fault_row(folder, server, name, inject, times, server.uri), flush=True)
    for name, fault in {"answer 500 to each request at first": "fail", "each answer lost at first": "lose"}.items():
        with proxied(server) as proxy:
            proxy.fault = first_time(fault)
            row = fault_row(folder, server, name, None, 0, proxy.uri)
            print(row.replace("| 0 |", f"| {proxy.count} |", 1), flush=True)
    server.kill()
    print(fault_row(folder, server, "server down from the start to the end", None, 1, server.uri), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--faults", type=int, default=5)
    parser.add_argument("--train", metavar="URI", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.train:
        train(given.folder, given.train)
        return
    keep_freed_memory()  # as a training does; else its steps differ more than tracking can make them
    server = MlflowServer(given.folder / "server")
    server.start()
    try:
        step_table(given.folder, server, given.rounds, given.steps)
        fault_table(given.folder, server, given.faults)
    finally:
        server.kill()


if __name__ == "__main__":
    main()
