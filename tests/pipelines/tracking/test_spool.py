import pytest

from pipelines.tracking.entries import Begin, Child, File, Metrics, Parameters, Status, Tags
from pipelines.tracking.spool import RESUMED, Sent, Spool, entries, forget_file, history, is_kept, spools, unsent


def begin(name="x"):
    return Begin(spool=name, name="run", experiment="e", uri="http://host", artifacts="a", at_ms=1)


@pytest.fixture
def spool(tmp_path):
    return Spool.of_run(tmp_path, begin(), fresh=False)


def reopened(spool):
    spool.close()
    return Spool(spool.folder, begin("other"))


def metrics(step, **values):
    return Metrics(values=values, step=step, at_ms=step)


def test_a_training_that_goes_on_has_the_spool_it_had(tmp_path, spool):
    spool.append(Status(status="FINISHED", at_ms=2))
    spool.close()
    again = Spool.of_run(tmp_path, begin("other"), fresh=False)
    assert again.folder == spool.folder
    assert again.begin.spool == "x"
    assert again.status == "FINISHED"


@pytest.mark.parametrize(("changes", "fresh"), [({}, True), ({"experiment": "f"}, False), ({"uri": "http://b"}, False)])
def test_a_fresh_training_and_one_that_goes_elsewhere_have_a_spool_of_their_own(tmp_path, spool, changes, fresh):
    spool.close()
    other = Spool.of_run(tmp_path, begin("other").model_copy(update=changes), fresh)
    assert other.folder.name == "0002"
    assert other.begin.spool == "other"
    assert spools(tmp_path) == [spool.folder, other.folder]


def test_steps_that_are_done_again_are_logged_once(spool):
    for step in (10, 20):
        spool.append(metrics(step, loss=step, error=1))
    spool.append(metrics(20, val_loss=5))
    spool = reopened(spool)
    for step in (20, 30):
        spool.append(metrics(step, loss=-step))
    found = history(entries(spool.folder), ["loss", "error", "val_loss"])
    assert found == {"loss": {10: 10, 20: 20, 30: -30}, "error": {10: 1, 20: 1}, "val_loss": {20: 5}}


def test_what_a_resumed_training_changed_becomes_tags(spool):
    spool.append(Parameters(values={"lr": "0.1", "workers": "2"}))
    for workers in ("2", "4", "4", "2"):
        spool = reopened(spool)
        spool.append(Parameters(values={"lr": "0.1", "workers": workers}))
    spool.append(Parameters(values={"seed": "1"}))
    assert list(entries(spool.folder))[1:] == [
        Parameters(values={"lr": "0.1", "workers": "2"}),
        Tags(values={f"{RESUMED}workers": "4"}),
        Tags(values={f"{RESUMED}workers": "2"}),
        Parameters(values={"seed": "1"}),
    ]


def test_a_parent_is_told_once(spool):
    for parent in ("a", "a", "b"):
        spool = reopened(spool)
        spool.append(Child(parent=parent))
    assert list(entries(spool.folder))[1:] == [Child(parent="a"), Child(parent="b")]


def test_a_kept_file_stays_as_it_was_until_it_is_sent(tmp_path, spool):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("1")
    kept = spool.keep(tmp_path / "model")
    (tmp_path / "model" / "weights").unlink()
    assert (spool.folder / kept / "weights").read_text() == "1"
    assert kept.endswith("/model")
    forget_file(spool.folder, File(path=kept))
    assert not list((spool.folder / "files").iterdir())


def test_what_is_not_sent_is_counted_on_all_hosts(spool):
    spool.append(metrics(1, loss=1))
    (spool.folder / "hosts").mkdir()
    (spool.folder / "hosts" / "a.jsonl").write_bytes((spool.folder / "journal.jsonl").read_bytes())
    assert unsent(spool.folder) == 4
    size = (spool.folder / "journal.jsonl").stat().st_size
    Sent("run", {"journal.jsonl": size, "hosts/a.jsonl": size}, awaited_parent="p").write(spool.folder)
    assert Sent.of(spool.folder).run_id == "run"
    assert unsent(spool.folder) == 1


def test_infinities_and_what_is_not_a_number_come_back(spool):
    spool.append(metrics(1, loss=float("inf"), error=float("nan")))
    *_, last = entries(spool.folder)
    assert last.values["loss"] == float("inf")
    assert last.values["error"] != last.values["error"]


@pytest.mark.attack
@pytest.mark.parametrize(
    "path",
    [
        "../../../precious/file",
        "files/../../../../precious/file",
        "{outside}/file",
        "files/link/file",
        "files/a/link",
        ".",
    ],
)
def test_a_planted_spool_has_nothing_sent_or_removed_that_lies_elsewhere(tmp_path, spool, path):
    outside = tmp_path / "precious"
    outside.mkdir()
    (outside / "file").write_text("mine")
    (spool.folder / "files" / "a").mkdir(parents=True)
    (spool.folder / "files" / "link").symlink_to(outside)
    (spool.folder / "files" / "a" / "link").symlink_to(outside / "file")
    entry = File(path=path.format(outside=outside), folder="")
    assert not is_kept(spool.folder, entry)
    forget_file(spool.folder, entry)
    assert (outside / "file").read_text() == "mine"
    assert spool.folder.exists()
