"""jobs/train.py under a real horovodrun: several workers equal one, and a killed training goes on."""

import contextlib
import json
import pickle
import re
import shlex
import socket
import time
from itertools import product

import psutil
import pytest
import torch
from mlflow import MlflowClient

from pipelines.training.checkpoint import read_checkpoint
from pipelines.training.workers import Solo
from tests.conftest import REPOSITORY
from tests.hostile import Hostile
from tests.jobs.commands import Place, call, call_in_process, start

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = Place(tmp_path_factory.mktemp("training"))
    place.preprocess()
    return place


def weights(path):
    return read_checkpoint(path, Solo()).model


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("plain", ()),
        ("mixed", ("mixing.mixup_alpha=0.4", "mixing.cutmix_alpha=1", "label_smoothing=0.1")),
        (
            "accumulated",
            (
                *("accumulation=2", "clip_norm=0.5", "ema_decay=0.99"),
                *("schedule.kind=multi_step", "schedule.milestones=[1]", "schedule.gamma=0.5"),
            ),
        ),
    ],
)
def test_two_and_four_workers_end_with_the_weights_of_one_worker_and_the_same_global_batch(place, name, settings):
    for workers in (1, 2, 4):
        place.train(workers, "epochs=2", *settings, f"runs_dir={place.folder}/{name}-by-{workers}")
    alone, *together = (place.checkpoints(f"{name}-by-{workers}")[-1] for workers in (1, 2, 4))
    expected = read_checkpoint(alone, Solo())
    for path in together:
        trained = read_checkpoint(path, Solo())
        assert trained.name == expected.name == "epoch-0002"
        torch.testing.assert_close(trained.model, expected.model, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(trained.average, expected.average, rtol=1e-4, atol=1e-5)


EPOCHS = 8
LONG = (f"epochs={EPOCHS}", "optimizer.lr=0.02")
"""With more, this network's loss jumps, and the last digits that another order of adding up leaves become the first."""


@pytest.fixture(scope="module")
def undisturbed(place):
    """Weights of two workers after EPOCHS epochs in which nothing happened."""
    place.train(2, *LONG, "name=undisturbed", f"runs_dir={place.folder}/undisturbed")
    return weights(place.checkpoints("undisturbed")[-1])


def test_a_killed_training_goes_on_to_the_weights_of_an_undisturbed_one(place, undisturbed):
    command = disturbed(place, "killed")
    launcher = _started(command, place, "killed")
    for process in [*psutil.Process(launcher.pid).children(recursive=True), launcher]:
        process.kill()
    launcher.communicate()
    printed = call(*command)
    done = int(re.search(rf"going on after epoch (\d+) of {EPOCHS}", printed)[1])
    assert 2 <= done < EPOCHS
    torch.testing.assert_close(weights(place.checkpoints("killed")[-1]), undisturbed, rtol=0, atol=0)

    ((client, run),) = _runs(place, "killed")
    assert run.info.status == "FINISHED"
    assert {m.step for m in client.get_metric_history(run.info.run_id, "val_loss")} == set(range(1, EPOCHS + 1))


def test_a_training_that_is_asked_to_stop_saves_at_once_and_goes_on_from_that_step(place, undisturbed):
    command = disturbed(place, "stopped")
    launcher = _started(command, place, "stopped")
    launcher.terminate()
    printed, _ = launcher.communicate(timeout=60)
    step = int(re.search(r"stopped by SIGTERM after step (\d+)", printed)[1])
    again = call(*command)
    assert re.search(rf"going on after epoch \d of {EPOCHS}, step {step},", again)
    torch.testing.assert_close(weights(place.checkpoints("stopped")[-1]), undisturbed, rtol=0, atol=0)


def test_another_number_of_workers_goes_on_with_the_same_training(place, undisturbed):
    launcher = _started(disturbed(place, "moved"), place, "moved")
    launcher.terminate()
    launcher.communicate(timeout=60)
    again = place.train(1, *LONG, "name=moved", f"runs_dir={place.folder}/moved")
    assert re.search(rf"going on after epoch \d of {EPOCHS}", again)
    torch.testing.assert_close(weights(place.checkpoints("moved")[-1]), undisturbed, rtol=1e-4, atol=1e-5)


def test_a_training_starts_from_the_weights_of_a_finished_one(place, undisturbed):
    started = ("epochs=1", "name=started", f"runs_dir={place.folder}/started", "optimizer.lr=1e-12")
    assert "fresh: none" in place.train(2, *started, "start_from=undisturbed")
    torch.testing.assert_close(weights(place.checkpoints("started")[-1]), undisturbed, rtol=0, atol=1e-6)
    for path in place.checkpoints("started"):
        path.write_bytes(path.read_bytes()[:-99])
    assert "fresh: none" in place.train(1, *started, "start_from=undisturbed")
    torch.testing.assert_close(weights(place.checkpoints("started")[-1]), undisturbed, rtol=0, atol=1e-6)
    printed = call(*place.train_command(1, *started, "start_from=nobody"), status=2)
    assert "no finished training nobody; there are" in printed


def test_seeds_are_trainings_of_their_own_under_one_run_and_go_on_as_such(place):
    asked = ("epochs=1", "seeds=[1..2]", "tracking.experiment=seeds", f"runs_dir={place.folder}/seeds")
    place.train(2, *asked)
    client = MlflowClient(f"sqlite:///{place.folder}/mlflow.db")
    experiment = client.get_experiment_by_name("seeds").experiment_id
    (group,) = client.search_runs([experiment], "tags.`strata.kind` = 'group'")
    client.set_tag(group.info.run_id, "strata.kind", "ensemble")  # as jobs/ensemble.py makes it one
    again = place.train(2, *asked)
    assert again.count("trained before") == 2
    runs = client.search_runs([experiment])
    (group,) = [run for run in runs if run.data.tags["strata.kind"] == "ensemble"]
    members = {run.info.run_name: run for run in runs if run is not group}
    assert group.info.run_name == "lenet5_modern-some-digits-2-members"
    assert members.keys() == {f"lenet5_modern-some-digits-seed{seed}" for seed in (1, 2)}
    assert {run.data.tags["mlflow.parentRunId"] for run in members.values()} == {group.info.run_id}
    assert {run.info.status for run in runs} == {"FINISHED"}
    first, second = place.checkpoints("seeds")
    assert any(not torch.equal(a, b) for a, b in zip(weights(first).values(), weights(second).values(), strict=True))


def disturbed(place, name):
    return place.train_command(2, *LONG, f"name={name}", f"runs_dir={place.folder}/{name}")


def _started(command, place, name):
    """The launcher of a training that has two epochs behind it."""
    launcher = start(*command)
    deadline = time.monotonic() + 120
    while not any(path.name >= "epoch-0002.pt" for path in place.checkpoints(name)):
        assert launcher.poll() is None, launcher.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return launcher


def test_what_horovod_does_is_set_and_its_timeline_is_in_the_runs_folder(place):
    place.train(
        2, "epochs=1", f"runs_dir={place.folder}/timed", "horovod.compression=fp16", "horovod.timeline=true",
        "horovod.fusion_threshold_mb=1", "horovod.cycle_time_ms=2", "precision=bfloat16", "channels_last=true",
    )  # fmt: skip
    (timeline,) = (place.folder / "timed").glob("*/horovod-timeline.json")
    assert place.checkpoints("timed")
    events = json.loads(timeline.read_text().rstrip().rstrip(",").removesuffix("]").rstrip().rstrip(",") + "]")
    assert "ALLREDUCE" in {event.get("name") for event in events}


def test_one_batch_is_learnt_by_heart_and_a_profile_of_that_is_in_the_runs_folder_and_its_artifacts(place):
    place.train(
        1, "epochs=12", "name=by-heart", f"runs_dir={place.folder}/by-heart", "overfit_one_batch=true", "profile=true",
        "schedule.kind=constant",
    )  # fmt: skip
    ((client, run),) = _runs(place, "by-heart")
    losses = [metric.value for metric in client.get_metric_history(run.info.run_id, "train_loss")]
    assert losses[-1] < losses[0] / 4
    (trace,) = (place.folder / "by-heart").glob("*/trace.json")
    assert json.loads(trace.read_text())["traceEvents"]
    assert [file.path for file in client.list_artifacts(run.info.run_id, "profile")] == ["profile/trace.json"]


def test_a_compiled_network_trains_on_random_images_and_is_logged_as_any_other(place):
    printed = place.train(
        1, "epochs=1", "name=random", f"runs_dir={place.folder}/random", "synthetic_data=true", "compile=true",
        "ema_decay=0.9",
    )  # fmt: skip
    assert "of the time was spent waiting" not in printed
    assert place.checkpoints("random")


def _runs(place, name):
    client = MlflowClient(f"sqlite:///{place.folder}/mlflow.db")
    experiment = client.get_experiment_by_name("digits")
    found = client.search_runs([experiment.experiment_id], f"attributes.run_name = '{name}'")
    return [(client, run) for run in found]


def test_a_mistake_of_one_setting_ends_all_workers_with_its_message(place):
    printed = call(*place.train_command(2, "model.name=lenet6"), status=1)  # horovodrun's own status
    assert "error: model.name = 'lenet6': no such network; there are lenet5, lenet5_modern" in printed
    assert "Traceback" not in printed


def test_fewer_places_than_workers_end_horovodrun_with_one_line():
    printed = call("horovodrun", "-np", 3, "-H", "localhost:2", "python", "jobs/train.py", status=1)
    assert printed == "horovodrun: Requested more processes (3) than there are available slots (2)\n"


def test_a_worker_that_hangs_after_rank_0_has_ended_well_is_ended_and_named():
    printed = call("horovodrun", "-np", 2, "sh", "-c", 'test "$HOROVOD_RANK" = 0 || kill -STOP $$', status=1)
    assert "Rank 0 ended well 30 s ago; ending what still runs: rank 1 on localhost." in printed
    assert "Process name: 1 " in printed.splitlines()[-1]


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo localhost:1", "horovodrun: Timed out waiting for minimum number of slots to become available. Please"),
        ("exit 7", "horovodrun: Failed to execute discovery script: exit 7. Exit code: 7"),
    ],
)
def test_elastic_mode_that_cannot_start_ends_horovodrun_with_one_line(script, told):
    elastic = ("--network-interface", "lo", "--elastic-timeout", 2, "--host-discovery-script", script)
    printed = call("horovodrun", "-np", 2, *elastic, "true", status=1)
    assert printed.startswith(told)
    assert printed.count("\n") == 1


@pytest.mark.attack
@pytest.mark.parametrize(
    ("interface", "told"),
    [
        ([], "elastic mode needs --network-interface: lo for this host alone, or the one that all hosts have"),
        (["--network-interface", "eth77"], "this host has no interface eth77 with an IPv4 address"),
    ],
)
def test_elastic_mode_listens_nowhere_before_it_is_told_where(interface, told):
    printed = call("horovodrun", "-np", 2, *interface, "--host-discovery-script", "echo localhost:2", "true", status=1)
    assert printed == f"horovodrun: {told}\n"


def test_workers_with_different_settings_end_at_once_and_are_told_which(place):
    command = place.train_command(1, "seed=$HOROVOD_RANK", "runs_dir=/nowhere/$HOROVOD_RANK")
    printed = call("horovodrun", "-np", 2, "sh", "-c", " ".join(command), status=1)
    differences = "runs_dir = /nowhere/1, not /nowhere/0; seed = 1, not 0."
    assert re.search(f"error: worker 1 on .* differs from worker 0 on .*: {differences}", printed)


def test_trainings_of_one_command_have_the_same_settings_of_horovod(place, tmp_path, monkeypatch, capsys):
    files = []
    for name in ("none", "fp16"):
        files.append(tmp_path / f"{name}.yaml")
        text = (REPOSITORY / "conf" / "train" / "lenet5_digits.yaml").read_text()
        files[-1].write_text(f"{text}\nname: {name}\nhorovod: {{compression: {name}}}\n")
    words = [*map(str, files), f"dataset={place.dataset}", f"runs_dir={tmp_path}/runs", *place.tracking]
    printed, status = call_in_process("jobs/train.py", words, monkeypatch, capsys)
    assert status == 2
    assert "none and fp16 have different settings of horovod" in printed


def test_a_wait_between_trainings_is_shorter_than_what_counts_as_a_stall(place, monkeypatch, capsys):
    words = place.train_command(1, "seeds=[1..2]", "tracking.wait_at_end_s=300")[2:]
    printed, status = call_in_process("jobs/train.py", words, monkeypatch, capsys)
    assert status == 2
    assert "tracking.wait_at_end_s = 300 is no less than horovod.stall_shutdown_s = 300" in printed


def test_a_loss_that_is_no_number_ends_all_workers_and_names_the_images(place):
    command = place.train_command(2, "optimizer.lr=1e18", "name=diverged", f"runs_dir={place.folder}/diverged")
    printed = call(*command, status=1)
    assert "the loss became infinite or not a number at step" in printed
    (listed,) = (place.folder / "diverged").glob("*/diverged.tsv")
    assert {line.split("\t")[1] for line in listed.read_text().splitlines()[1:]} == {"0", "1"}
    assert not place.checkpoints("diverged")


def test_a_mistake_about_validation_shows_before_training_starts(place):
    command = place.train_command(1, "loader.val_transforms=[{kind: pad, size: 64}]", "name=mistaken")
    printed = call(*command, status=2)
    assert "lenet5_modern cannot take images of 64 x 64 x 1" in printed
    assert "change their size with loader.val_transforms" in printed
    assert "epoch 1" not in printed


def test_a_fresh_training_that_cannot_start_keeps_the_checkpoints_of_the_one_before(place):
    place.train(1, "epochs=1", "name=kept", f"runs_dir={place.folder}/kept")
    before = place.checkpoints("kept")
    command = place.train_command(1, "epochs=1", "name=kept", f"runs_dir={place.folder}/kept", "fresh=true")
    assert "not reachable" in call(*command, f"tracking.uri=sqlite:///{before[0]}", status=2)
    assert place.checkpoints("kept") == before


def test_workers_that_cannot_share_the_lanes_end_at_once_with_what_to_change(place):
    printed = call(*place.train_command(3, "loader.lanes=4"), status=1)
    assert "3 workers cannot share 4 lanes evenly: set loader.lanes to a multiple" in printed


@pytest.mark.attack
def test_what_strangers_send_while_workers_meet_runs_nothing_and_the_same_command_trains_as_ever(
    place, undisturbed, tmp_path
):
    """Gloo takes whoever comes first for the worker that it waits for: they can end a training, and no more."""
    command = place.train_command(2, *LONG, "name=pestered", f"runs_dir={place.folder}/pestered")
    trap, reached = tmp_path / "sprung", set()
    apart = f"sleep $((3 * HOROVOD_RANK)); exec {shlex.join(command[3:])}"  # so that the first one waits
    job = start(*command[:3], "sh", "-c", apart)
    while job.poll() is None:
        for address, payload in product(listening_of_workers(job.pid), (bytes(64), pickle.dumps(Hostile(trap)))):
            with contextlib.suppress(OSError), socket.create_connection(address, timeout=1) as connection:
                connection.sendall(payload)
                reached.add(address)
        time.sleep(0.01)
    job.communicate()
    assert reached
    assert not trap.exists()
    call(*command)
    torch.testing.assert_close(weights(place.checkpoints("pestered")[-1]), undisturbed, rtol=0, atol=0)


def listening_of_workers(launcher):
    found = set()
    for process in psutil.Process(launcher).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "jobs/train.py" in process.cmdline()[1:2]:
                found |= {one.laddr for one in process.net_connections("tcp") if one.status == "LISTEN"}
    return found
