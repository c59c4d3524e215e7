"""What a host is doing while it trains: processor, memory, disk, network and GPUs, sampled by a thread.

A host's samples go to a journal of its own in the run's spool, which the run's sender sends with the rest: every host
has to see the run's folder, as it does the dataset, and nothing more has to travel between workers.
"""

import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import psutil

from pipelines.config import InputError
from pipelines.tracking.base import now_ms
from pipelines.tracking.entries import Metrics, entry_from
from pipelines.tracking.journal import Journal, read
from pipelines.tracking.spool import HOSTS

GPU_QUERY = ("nvidia-smi", "--query-gpu=index,utilization.gpu,memory.used,power.draw", "--format=csv,noheader,nounits")
GPU_FIELDS = ("utilization_percentage", "memory_usage_megabytes", "power_usage_watts")


@contextmanager
def sampling(spool: Path, every_s: float | None) -> Iterator[None]:
    """In this context this host is sampled; None: it is not. One process a host should be in it."""
    if every_s is None:
        yield
        return
    done = Event()
    thread = Thread(target=_sample_until, args=(done, spool, every_s), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _sample_until(done: Event, spool: Path, every_s: float) -> None:
    host = platform.node() or "host"
    path = spool / HOSTS / f"{host}.jsonl"
    psutil.cpu_percent()  # its first answer means nothing: it tells of the time since the last
    try:
        journal = Journal(path)
        step = next_step(path)
        while not done.wait(every_s):
            values = {f"system/{host}/{name}": value for name, value in sample(spool).items()}
            journal.append(Metrics(values=values, step=step, at_ms=now_ms()).model_dump())
            step += 1
        journal.close()
    except (InputError, OSError) as error:  # which is no reason not to train
        print(f"tracking: {host}'s load is not recorded: {error}", flush=True)


def next_step(path: Path) -> int:
    """Samples are counted through all resumptions."""
    last = None
    for line in read(path):
        last = line.tree or last
    entry = entry_from(last) if last else None
    return entry.step + 1 if isinstance(entry, Metrics) else 0


def sample(folder: Path) -> dict[str, float]:
    """The load of this host now. Of disks and network: megabytes since the host was started; `folder` is on a disk."""
    memory, disk = psutil.virtual_memory(), psutil.disk_usage(str(folder))
    values = {
        "cpu_utilization_percentage": psutil.cpu_percent(),
        "system_memory_usage_percentage": memory.percent,
        "system_memory_usage_megabytes": memory.used / 1e6,
        "disk_usage_percentage": disk.percent,
    }
    if traffic := psutil.net_io_counters():
        values["network_receive_megabytes"] = traffic.bytes_recv / 1e6
        values["network_transmit_megabytes"] = traffic.bytes_sent / 1e6
    if transfers := psutil.disk_io_counters():
        values["disk_read_megabytes"] = transfers.read_bytes / 1e6
        values["disk_write_megabytes"] = transfers.write_bytes / 1e6
    return values | _gpus()


def _gpus() -> dict[str, float]:
    if not shutil.which(GPU_QUERY[0]):
        return {}
    try:
        answer = subprocess.run(GPU_QUERY, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    return gpu_values(answer)


def gpu_values(answer: str) -> dict[str, float]:
    """What nvidia-smi says of each GPU, a line each; what it does not know of one is left out."""
    values = {}
    for line in answer.splitlines():
        index, *figures = (part.strip() for part in line.split(","))
        for name, figure in zip(GPU_FIELDS, figures, strict=False):
            try:
                values[f"gpu_{index}_{name}"] = float(figure)
            except ValueError:  # [N/A]
                continue
    return values
