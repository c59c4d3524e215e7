"""jobs/report.py, by the words that a user types, on a real store. test_stages.py has it after the other jobs."""

import runpy
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipelines.config import TrackingSettings
from pipelines.tracking.tags import KIND_TAG
from pipelines.tracking.tracker import MlflowTracker
from tests.conftest import REPOSITORY
from tests.jobs.commands import call_in_process
from tests.pipelines.report.studies import evaluated, judged

JOB = str(REPOSITORY / "jobs" / "report.py")


@pytest.fixture(scope="module")
def store(tmp_path_factory, digits):
    """Of two trainings of the digits that are evaluated, and their ensemble."""
    folder = tmp_path_factory.mktemp("store")
    settings = TrackingSettings(
        uri=f"sqlite:///{folder}/mlflow.db", artifacts=folder / "artifacts", experiment="some digits"
    )
    ids = [_trained(settings, seed, digits) for seed in (1, 2)]
    ensemble = MlflowTracker.begin(settings, "pair")
    ensemble.log_tags({KIND_TAG: "ensemble"})
    ensemble.log_parameters({"members": " ".join(ids), "protocol": "as_trained"})
    ensemble.log_metrics(judged(0.01, images=359) | {"gain_over_median_member": 0.01}, step=0)
    ensemble.finish()
    return settings


def _trained(settings, seed, digits):
    tracker = MlflowTracker.begin(settings, f"seed{seed}")
    tracker.log_tags({KIND_TAG: "training", "strata.dataset_digest": digits.manifest.digest})
    tracker.log_parameters({"dataset": digits.root, "model.name": "lenet5_modern", "seed": seed, "epochs": 1})
    tracker.log_metrics({"val_loss": 0.5, "val_top1_error": 0.02}, step=1)
    tracker.log_metrics(judged(0.02, images=359), step=0)
    for name, content in evaluated().items():
        path = Path(settings.artifacts, name.rpartition("/")[2])
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        tracker.log_file(path, "evaluation/as_trained")
    tracker.finish()
    return tracker.run_id


@pytest.fixture
def report(monkeypatch, capsys, tmp_path, store):
    """Runs the job in an empty folder; what it printed on either stream, and its status."""
    monkeypatch.chdir(tmp_path)

    return lambda *words: call_in_process(JOB, [*words, f"tracking.uri={store.uri}"], monkeypatch, capsys)


def test_it_writes_a_page_and_its_twin_and_says_where(report, tmp_path):
    printed, status = report("study=some digits", "output=out")
    assert status == 0
    folder = tmp_path / "out" / "some-digits"
    assert sorted(path.name for path in folder.iterdir()) == ["index.html", "pictures", "report.md"]
    assert "1,438 training images of 10 classes" in (folder / "index.html").read_text()
    assert "seed1" in (folder / "report.md").read_text()
    assert (folder / "pictures" / "confusion.png").exists() is False  # the ensemble, whose mistakes count, has none
    for line in (
        "reading run 3 of 3: seed2",
        "study    some digits: 2 trainings, 1 ensembles",
        "page     out/some-digits/index.html, ",
        "markdown out/some-digits/report.md, with ",
        "next: open out/some-digits/index.html in a browser",
    ):
        assert line in printed
    assert not list(tmp_path.rglob("*.unfinished"))


def test_the_page_goes_to_the_ensembles_artifacts_if_it_is_to(report, store):
    printed, _ = report("some digits", "--log")
    client = MlflowClient(store.uri)
    experiment = client.get_experiment_by_name("some digits").experiment_id
    (pair,) = client.search_runs([experiment], "attributes.run_name = 'pair'")
    assert f"logged   to run pair ({pair.info.run_id}), folder report" in printed
    assert [file.path for file in client.list_artifacts(pair.info.run_id, "report")] == ["report/index.html"]
    assert pair.info.status == "FINISHED"


def test_a_dataset_that_is_gone_is_said_to_be(report, store, monkeypatch, tmp_path):
    lone = store.model_copy(update={"experiment": "gone"})
    tracker = MlflowTracker.begin(lone, "a run")
    tracker.log_tags({KIND_TAG: "training"})
    tracker.log_parameters({"dataset": tmp_path / "nowhere"})
    printed, status = report("gone")
    assert status == 0
    assert "the dataset is not read, so the page does not count its images" in printed
    assert "nowhere: no dataset here" in printed


def test_a_page_for_no_ensemble_is_not_written(report, store, tmp_path):
    lone = store.model_copy(update={"experiment": "lone"})
    MlflowTracker.begin(lone, "a run").log_tags({KIND_TAG: "training"})
    printed, status = report("lone", "log=true")
    assert status == 2
    assert "log = true: study lone has no ensemble to put the page with; leave it out" in printed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "study is missing: name an experiment first, as in `report.py digits`"),
        (("some digit",), "study = some digit: no experiment of this name in sqlite"),
        (("some digit",), "; there are Default, "),
        (
            ("some digits", "tracking.experiment=others"),
            "tracking.experiment = others is another: leave the latter out",
        ),
        (("some digits", "outptu=x"), "outptu is no setting; did you mean output?"),
    ],
)
def test_a_mistake_names_the_key_and_what_to_do_and_writes_nothing(report, tmp_path, words, message):
    printed, status = report(*words)
    assert status == 2
    assert message in printed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../up", "..", "a/b", "-", "naïve study?"])
def test_a_folder_is_made_of_any_name(name):
    folder_name = runpy.run_path(JOB)["folder_name"]
    assert "/" not in folder_name(name)
    assert folder_name(name) not in ("", ".", "..")
    assert not folder_name(name).startswith(".")
