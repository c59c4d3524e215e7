"""How fast training stays when workers are added: measured here for a few, computed beyond from what must be sent.

    python -m benchmarks.scaling [--gbit 25] [--gpus-per-host 4] [--latency-us 10] [--control-us 50] [--bits 16]
        [--images-per-s A=154,…]
    python -m benchmarks.scaling --measure 1,2,4 [--rounds 5] [--turn 6]    # real processes of this machine

The formula is `efficiency`, told in docs/scaling.md; nothing of it is fitted. Rates of one GPU are published ones
unless given.
"""

import argparse
import os
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from benchmarks.steps import Task
from benchmarks.training import HOROVODRUN, worker
from benchmarks.turns import measured
from pipelines.summary.inputs import usual_input
from pipelines.summary.summary import summarize_named
from pipelines.training.gradients import BUCKET_BYTES

CYCLE_S = 0.001
"""How often Horovod looks for buckets that are ready."""
BACKWARD_SHARE = 2 / 3
"""Of a step's arithmetic: the gradients of a layer's input and of its weights each take what its output took."""


@dataclass(frozen=True)
class Links:
    """What lies between the GPUs."""

    gpus_per_host: int
    host_bytes_per_s: float
    """Of one host's link to the others, in each direction."""
    inside_bytes_per_s: float
    """Between two GPUs of one host."""
    latency_s: float
    """Of one message between neighbours in the ring."""
    control_latency_s: float = 50e-6
    """Of one of the messages, by TCP, in which workers agree on what is ready."""
    ring_agreement: bool = False
    """As in Gloo's own allreduce, with which Horovod comes."""

    def allreduce_s(self, size_bytes: float, gpus: int) -> float:
        """A ring: 2 (N - 1) rounds, in each of which every GPU sends an N-th to its neighbour."""
        if gpus == 1:
            return 0.0
        slowest = self.inside_bytes_per_s if gpus <= self.gpus_per_host else self.host_bytes_per_s
        return 2 * (gpus - 1) * (size_bytes / gpus / slowest + self.latency_s)

    def agreement_s(self, gpus: int) -> float:
        """Rounds in each of which a worker sends what it knows twice as far as before: setup/horovod_agreement.h."""
        rounds = 2 * (gpus - 1) if self.ring_agreement else (gpus - 1).bit_length()
        return rounds * self.control_latency_s


class Gradient(NamedTuple):
    """Of one layer, or of some that travel together."""

    size_bytes: float
    ready_s: float
    """After the step began."""


def gradients(layers: Sequence[tuple[float, float]], step_s: float) -> list[Gradient]:
    """In the order in which the backward pass makes them. layers: (parameters, multiply-adds), from the image on.

    step_s: of a step on one GPU. A layer takes the time that its share of the multiply-adds says.
    """
    whole = sum(multiply_adds for _, multiply_adds in layers)
    backward = list(reversed(layers))
    done = accumulate(multiply_adds for _, multiply_adds in backward)
    forward_s = (1 - BACKWARD_SHARE) * step_s
    return [
        Gradient(parameters * 4, forward_s + BACKWARD_SHARE * step_s * sum_until / whole)
        for (parameters, _), sum_until in zip(backward, done, strict=True)
        if parameters
    ]


def buckets(ready: Sequence[Gradient], bits: int = 32) -> list[Gradient]:
    """Messages: gradients together up to BUCKET_BYTES, or one that is larger; ready when the last of them is.

    bits: of a gradient on its way. A bucket holds the same gradients for any.
    """
    messages: list[Gradient] = []
    for size_bytes, ready_s in ready:
        if messages and messages[-1].size_bytes + size_bytes <= BUCKET_BYTES:
            size_bytes += messages.pop().size_bytes
        messages.append(Gradient(size_bytes, ready_s))
    return [Gradient(size_bytes * bits / 32, ready_s) for size_bytes, ready_s in messages]


def synchronised_s(messages: Sequence[Gradient], step_s: float, links: Links, gpus: int) -> float:
    """Seconds of a step on so many GPUs. The link sends one message after another, beside the backward pass."""
    free_s = 0.0
    for size_bytes, ready_s in messages if gpus > 1 else ():
        # As long as it takes on average until Horovod looks, and then to see that all have it ready.
        start_s = max(free_s, ready_s) + CYCLE_S / 2 + links.agreement_s(gpus)
        free_s = start_s + links.allreduce_s(size_bytes, gpus)
    return max(step_s, free_s)


def efficiency(messages: Sequence[Gradient], step_s: float, links: Links, gpus: int) -> float:
    """Images a second of so many GPUs over so many times those of one."""
    return step_s / synchronised_s(messages, step_s, links, gpus)


# --- the table ----------------------------------------------------------------------------------

GPUS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
BATCH = 64
NETWORKS = {"vgg_d": 154.0, "resnet50": 219.0}
"""Images a second of one P100 with batches of 64: TensorFlow's published benchmarks (May 2017, DGX-1, synthetic data),
the code and the time of Horovod's own figures."""
PUBLISHED = {
    "vgg_d": "68% (VGG-16)",
    "resnet50": "90% (ResNet-101, Inception V3)",
}
"""Of 512 Pascal GPUs in 128 hosts, RoCE of 25 Gbit/s: Horovod's documentation, benchmarks.rst."""


def layers_of(network: str) -> list[tuple[float, float]]:
    """(parameters, multiply-adds) of each layer of the network at its paper's size, from the image on."""
    rows = summarize_named(network, 1, usual_input(network), {}).rows
    return [(row.weights + row.biases, row.multiply_adds) for row in rows]


def main() -> None:
    asked = _arguments()
    if asked.measure:
        _print_measured([int(count) for count in asked.measure.split(",")], asked.rounds, asked.turn)
        return
    host_bytes_per_s, inside_bytes_per_s = asked.gbit * 1e9 / 8, asked.inside_gb * 1e9
    latencies_s = asked.latency_us / 1e6, asked.control_us / 1e6
    links = Links(asked.gpus_per_host, host_bytes_per_s, inside_bytes_per_s, *latencies_s, asked.ring_agreement)
    rates = NETWORKS | {name: float(rate) for name, rate in (pair.split("=") for pair in asked.images_per_s)}
    _print_computed(links, rates, asked.batch, asked.bits)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling")
    parser.add_argument("--gbit", type=float, default=25.0, help="of a host's link, per second")
    parser.add_argument("--gpus-per-host", type=int, default=4)
    parser.add_argument(
        "--inside-gb", type=float, default=10.0, help="GB/s between GPUs of a host; PCIe 3.0 has about 10"
    )
    parser.add_argument("--latency-us", type=float, default=10.0, help="of one message of the ring")
    parser.add_argument("--control-us", type=float, default=50.0, help="of one message in which workers agree")
    parser.add_argument("--ring-agreement", action="store_true", help="as Horovod comes, instead of as we build it")
    parser.add_argument("--images-per-s", type=lambda pairs: pairs.split(","), default=[], metavar="NETWORK=RATE,…")
    parser.add_argument("--batch", type=int, default=BATCH, help="images of one GPU")
    parser.add_argument("--bits", type=int, default=32, choices=(16, 32), help="of a gradient on its way")
    parser.add_argument("--measure", default="", metavar="1,2,4", help="processes of this machine, one thread each")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--turn", type=float, default=6.0, metavar="S")
    return parser.parse_args()


def _print_computed(links: Links, rates: dict[str, float], batch: int, bits: int) -> None:
    print(f"| network | {' | '.join(map(str, GPUS))} | published at 512 |\n|---|{'---:|' * len(GPUS)}---|")
    for network, rate in rates.items():
        step_s = batch / rate
        messages = buckets(gradients(layers_of(network), step_s), bits)
        cells = [f"{efficiency(messages, step_s, links, gpus):.0%}" for gpus in GPUS]
        print(f"| {network} | {' | '.join(cells)} | {PUBLISHED.get(network, '')} |")


_MEASURED = (Task("vgg_d", 32, 8), Task("resnet50", 64, 8))


def _print_measured(counts: Sequence[int], rounds: int, turn_s: float) -> None:
    cores = len(os.sched_getaffinity(0))
    print("| network | processes | images/s | of so many times one | of what the cores allow | MB sent a step |")
    print("|---|---:|---:|---:|---:|---:|")
    for task in _MEASURED:
        with tempfile.TemporaryDirectory(prefix="strata-benchmark-") as folder:
            sides = [
                worker(str(count), "ours", task, 1, Path(folder, str(count)), HOROVODRUN, count) for count in counts
            ]
            paces = measured(sides, rounds, turn_s, 3)
        parameters = sum(parameter.numel() for parameter in task.model().parameters())
        for count in counts:
            rounds_s = zip(paces[str(counts[0])], paces[str(count)], strict=True)
            gain = statistics.median(one.wall_s / many.wall_s for one, many in rounds_s) * counts[0]
            rate = task.batch * count / statistics.median(pace.wall_s for pace in paces[str(count)])
            sent_mb = 2 * (count - 1) / count * parameters * 4 / 1e6
            print(
                f"| {task.network}, {task.size} px, {task.batch} a process | {count} | {rate:.1f} | {gain:.0%} "
                f"| {gain * count / min(count, cores):.0%} | {sent_mb:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
