"""Faults injected into real trainings at random moments, and what became of them: a table for docs/results.md.

    spark-submit jobs/preprocess.py conf/preprocess/digits.yaml
    python -m benchmarks.faults static
    python -m benchmarks.faults elastic

Static: two workers; after each fault the same command is given again, at once. Elastic: two workers on one host, which
the discovery script calls by two names; the command stays. Samples are compared, step by step, with those of a training
in which nothing happened.
"""

import argparse
import os
import random
import signal
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil
import torch

from benchmarks.faults_training import Training, kept, redone, samples_of

ENDS_WITHIN_S = 20
"""After the launcher has ended, every worker has."""

HANGS = ("horovod.stall_check_s=5", "horovod.stall_shutdown_s=10")
HOSTS = ("localhost:1", "127.0.0.1:1")


@dataclass
class Outcome:
    """Of all faults of one kind."""

    faults: int = 0
    recovered: int = 0
    lost: int = 0
    """Samples."""
    repeated: int = 0
    """Samples."""
    redone: int = 0
    """Steps."""
    left_running: int = 0
    """Workers that outlived their launcher."""
    seconds: list[float] = field(default_factory=list)
    """From each fault to the first step after it."""
    trainings: int = 0
    equal: int = 0
    """Trainings whose last weights are bit-equal to the undisturbed ones."""
    difference: float = 0.0
    """The largest of any weight from the undisturbed one."""


def send(number: int, which: int) -> Callable[[Training], None]:
    """To a worker by its place, or with -1 to the launcher."""

    def inject(training: Training) -> None:
        assert training.process is not None, "launched"
        target = training.process if which < 0 else training.workers()[which]
        target.send_signal(number)

    return inject


STATIC = {
    "kill -9 of a worker": send(signal.SIGKILL, 1),
    "kill -9 of rank 0": send(signal.SIGKILL, 0),
    "kill -9 of horovodrun": send(signal.SIGKILL, -1),
    "SIGTERM to a worker": send(signal.SIGTERM, 1),
    "SIGTERM to horovodrun": send(signal.SIGTERM, -1),
    "SIGSTOP of a worker": send(signal.SIGSTOP, 1),
    "SIGSTOP of rank 0": send(signal.SIGSTOP, 0),
}


def disturb(training: Training, inject: Callable[[Training], None], faults: int, draws: random.Random) -> Outcome:
    """Static mode: up to so many faults, the same command after each, then to the end."""
    outcome, struck_s = Outcome(trainings=1), 0.0
    while True:
        before = samples_of(training.runs)
        training.launch()
        begun = training.wait_until_steps_follow()
        after = samples_of(training.runs)[len(before) :]
        if outcome.faults and begun:
            outcome.seconds.append(after[0].time_s - struck_s)
        if outcome.faults and (begun or training.status() == 0):  # there may have been no step left to do
            outcome.recovered += 1
        if outcome.faults < faults:
            time.sleep(draws.uniform(0, 2.5))
        if outcome.faults == faults or training.ended():
            training.wait_until(training.ended)
            return outcome
        struck_s = time.time()
        try:
            inject(training)
        except (IndexError, psutil.Error):  # it ended by itself just now
            training.wait_until(training.ended)
            return outcome
        training.wait_until(lambda: training.ended() or training.over())
        if not training.ended():  # stopped after its last exchange: there is nothing to recover
            for worker in training.workers():
                worker.resume()
            training.wait_until(training.ended)
            return outcome
        outcome.faults += 1
        outcome.left_running += still_there(training)


def still_there(training: Training) -> int:
    deadline = time.monotonic() + ENDS_WITHIN_S
    while (left := training.workers()) and time.monotonic() < deadline:
        time.sleep(0.1)
    for worker in left:
        worker.kill()
    return len(left)


ELASTIC = {
    "host added": None,
    "kill -9 of a worker": send(signal.SIGKILL, 1),
    "kill -9 of rank 0": send(signal.SIGKILL, 0),
    "SIGTERM to a worker": send(signal.SIGTERM, 1),
    "host removed": None,
}


def disturb_elastic(training: Training, hosts: Path, faults: int, draws: random.Random) -> dict[str, Outcome]:
    """Elastic mode: one fault of each kind after another, so many times, while one command trains on."""
    outcomes = {kind: Outcome() for kind in ELASTIC}
    training.launch()
    training.wait_until_steps_follow()
    for kind in list(ELASTIC) * faults:
        time.sleep(draws.uniform(0, 3))
        outcome, before, struck_s = outcomes[kind], samples_of(training.runs), time.time()
        known = {one.together for one in before}
        try:
            if inject := ELASTIC[kind]:
                inject(training)
            else:
                write_hosts(hosts, HOSTS if kind == "host added" else [host_of(training.workers()[0])])
        except (IndexError, psutil.Error):  # it ended by itself just now
            break
        outcome.faults += 1
        if anew := training.wait_for_others_than(known):
            outcome.recovered += 1
            outcome.seconds.append(anew[0].time_s - struck_s)
        if ELASTIC[kind]:  # its host comes back
            training.wait_for_others_than(known | {one.together for one in anew})
        outcome.redone += redone(samples_of(training.runs)) - redone(before)
        if training.ended():
            break
    training.wait_until(training.ended)
    return outcomes


def host_of(worker: psutil.Process) -> str:
    return f"{worker.environ()['HOROVOD_HOSTNAME']}:1"


def write_hosts(hosts: Path, lines: Sequence[str]) -> None:
    hosts.parent.mkdir(parents=True, exist_ok=True)
    hosts.with_suffix(".new").write_text("".join(f"{line}\n" for line in lines))
    hosts.with_suffix(".new").replace(hosts)


def compare(outcome: Outcome, training: Training, undisturbed: Training) -> None:
    """Fill in what a training's records and weights say."""
    expected, found = kept(samples_of(undisturbed.runs)), kept(samples_of(training.runs))
    for step in expected.keys() | found.keys():
        wanted, had = expected.get(step), found.get(step)
        outcome.lost += sum((wanted - had).values()) if wanted and had else sum((wanted or {}).values())
        outcome.repeated += sum((had - wanted).values()) if wanted and had else sum((had or {}).values())
    pairs = [(training.weights()[name], weight) for name, weight in undisturbed.weights().items()]
    outcome.equal += all(torch.equal(*pair) for pair in pairs)
    largest = max(float((ours.double() - theirs.double()).abs().max()) for ours, theirs in pairs)
    outcome.difference = max(outcome.difference, largest)


def add(total: Outcome, one: Outcome) -> None:
    for name, value in asdict(one).items():
        setattr(total, name, max(total.difference, value) if name == "difference" else getattr(total, name) + value)


def row(kind: str, outcome: Outcome) -> str:
    worst = f"{max(outcome.seconds):.1f}" if outcome.seconds else ""
    median = f"{statistics.median(outcome.seconds):.1f}" if outcome.seconds else ""
    return (
        f"| {kind} | {outcome.faults} | {outcome.recovered} | {outcome.lost} | {outcome.repeated} | {outcome.redone} | "
        f"{median} | {worst} | {outcome.left_running} | {outcome.equal} of {outcome.trainings} |"
    )


HEADER = (
    "| fault | faults | recovered | samples lost | samples repeated | steps redone | seconds to recover, median "
    "| worst | workers left running | weights bit-equal |"
    "\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
)


def run_static(options: argparse.Namespace, arguments: list[str]) -> None:
    launcher = ["horovodrun", "-np", "2"]
    undisturbed = Training(options.work / "undisturbed", launcher, arguments)
    undisturbed.launch()
    undisturbed.wait_until(undisturbed.ended)
    draws, totals = random.Random(options.seed), {kind: Outcome() for kind in STATIC if options.only in kind}
    wanted = {kind: options.hangs if "SIGSTOP" in kind else options.faults for kind in totals}
    while behind := [kind for kind in totals if totals[kind].faults < wanted[kind]]:
        for kind in behind:
            folder = options.work / f"{kind.replace(' ', '_')}-{totals[kind].trainings}"
            training = Training(folder, launcher, [*arguments, *(HANGS if "SIGSTOP" in kind else ())])
            faults = min(options.per_training, wanted[kind] - totals[kind].faults)
            try:
                outcome = disturb(training, STATIC[kind], faults, draws)
            finally:
                training.kill_all()
            outcome.redone = redone(samples_of(training.runs))
            compare(outcome, training, undisturbed)
            add(totals[kind], outcome)
            print(row(kind, outcome), flush=True)
    print("\n".join(["", HEADER, *(row(kind, outcome) for kind, outcome in totals.items())]))


def run_elastic(options: argparse.Namespace, arguments: list[str]) -> None:
    hosts, script = options.work / "hosts", options.work / "discover.sh"
    write_hosts(hosts, [HOSTS[0]])
    script.write_text(f"#!/bin/sh\ncat {hosts}\n")
    script.chmod(0o755)
    undisturbed = Training(options.work / "undisturbed-alone", ["horovodrun", "-np", "1"], arguments)
    undisturbed.launch()
    undisturbed.wait_until(undisturbed.ended)
    one_core = ["taskset", "-c", str(min(os.sched_getaffinity(0)))]  # two workers of two names would each take all
    launcher = [
        *one_core,
        "horovodrun",
        "-np",
        "1",
        "--min-np",
        "1",
        "--max-np",
        "2",
        "--host-discovery-script",
        str(script),
    ]
    launcher += ["--network-interface", "lo", "--blacklist-cooldown-range", "5", "10"]
    training = Training(options.work / "elastic", launcher, arguments)
    try:
        outcomes = disturb_elastic(training, hosts, options.faults, random.Random(options.seed))
    finally:
        training.kill_all()
    whole = Outcome(trainings=1)
    compare(whole, training, undisturbed)
    print(HEADER)
    for kind, outcome in outcomes.items():
        print(row(kind, outcome))
    print(
        f"\nthe whole training: {whole.lost} samples lost, {whole.repeated} repeated; largest difference of a weight "
        f"from one of an undisturbed worker alone: {whole.difference:.1e}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=("static", "elastic"))
    parser.add_argument("--dataset", default="work/datasets/digits")
    parser.add_argument("--work", type=Path, default=Path("work/faults"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--faults", type=int, default=20, help="of each kind")
    parser.add_argument("--only", default="", help="kinds of static faults that contain this")
    parser.add_argument("--hangs", type=int, default=6, help="of a worker that hangs, which takes longer")
    parser.add_argument("--per-training", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    options.work = options.work.absolute()
    arguments = ["conf/train/lenet5_digits.yaml", f"dataset={options.dataset}", f"epochs={options.epochs}"]
    arguments += ["checkpoint_every_steps=10", "elastic.commit_every_steps=10"]
    (run_static if options.mode == "static" else run_elastic)(options, arguments)


if __name__ == "__main__":
    main()
