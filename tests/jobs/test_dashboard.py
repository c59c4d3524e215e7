"""The dashboard as people see it: `make dashboard` and a real browser, after a real study.

SCREENSHOTS=docs/dashboard pytest tests/jobs/test_dashboard.py trains as long as the demo does, and takes the
documentation's pictures anew.
"""

import io
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from urllib.request import urlopen

import pytest
from mlflow import MlflowClient
from PIL import Image
from playwright.sync_api import expect, sync_playwright

from benchmarks.mlflow_server import free_port
from tests.conftest import REPOSITORY
from tests.jobs.commands import Place, call, environment

CHROMIUM = shutil.which("chromium")
SCREENSHOTS = os.environ.get("SCREENSHOTS")
EPOCHS = 20 if SCREENSHOTS else 3
PATIENCE_S = 90
MEMBERS = [f"lenet5_modern-digits-seed{seed}" for seed in (1, 2, 3)]
ENSEMBLE = "lenet5_modern-digits-ensemble"
TOP1 = "eval_top1_error"
CURVES = "^val_(loss|top)"

pytestmark = [
    pytest.mark.processes,
    pytest.mark.timeout(900),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium; Debian has it: apt-get install chromium"),
]
expect.set_options(timeout=1000 * PATIENCE_S)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The demo's stages, but that one command trains the three members."""
    place = Place(tmp_path_factory.mktemp("dashboard"))
    dataset = place.folder / "datasets" / "digits"
    written = [f"predictions={place.folder}/predictions", f"output={place.folder}/evaluation", *place.tracking]
    evaluate = ["jobs/evaluate.py", "conf/evaluate/digits.yaml", f"dataset={dataset}"]
    call("spark-submit", "jobs/preprocess.py", "conf/preprocess/digits.yaml", f"output.path={dataset}")
    place.train(2, f"dataset={dataset}", f"epochs={EPOCHS}", "seeds=[1..3]")
    call("horovodrun", "-np", 2, "python", *evaluate, *written)
    call("spark-submit", "jobs/ensemble.py", "conf/ensemble/digits.yaml", *written)
    return place


@pytest.fixture(scope="module")
def runs(study):
    client = MlflowClient(f"sqlite:///{study.folder}/mlflow.db")
    experiment = client.get_experiment_by_name("digits")
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


@pytest.fixture(scope="module")
def dashboard(study):
    """The address of the experiment, as `make dashboard` prints it, whose server answers; Ctrl-C ends it."""
    port, printed = free_port(), study.folder / "dashboard.txt"
    command = ["make", "-o", ".venv/ready", "dashboard", f"PORT={port}", f"WORK={study.folder}"]
    with printed.open("w") as output:
        server = subprocess.Popen(
            command, cwd=REPOSITORY, env=environment(), stdout=output, stderr=output, start_new_session=True
        )
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not answers(port):
            assert server.poll() is None, printed.read_text()
            assert time.monotonic() < deadline, printed.read_text()
            time.sleep(0.2)
        (address,) = re.findall(r"^digits: (\S+)$", printed.read_text(), re.MULTILINE)
        yield address
        os.killpg(server.pid, signal.SIGINT)
        server.wait(PATIENCE_S)
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)


def answers(port):
    try:
        with urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def newcomer(browser):
    """The page of somebody who sees an MLflow for the first time."""
    context = browser.new_context(viewport={"width": 1440, "height": 720}, locale="en-GB")
    context.set_default_timeout(1000 * PATIENCE_S)
    yield context.new_page()
    context.close()


@pytest.fixture
def page(newcomer):
    """Of somebody who has been here before: has chosen "Model training", and seen the assistant open by itself."""
    seen = {"workflowType": '"machine_learning"', "assistant.fab.autoOpenedOnFirstLoad": "true"}
    for key, value in seen.items():
        newcomer.add_init_script(f"localStorage.setItem('mlflow.{key}_v1', '{value}')")
    return newcomer


def cell(page, run, column):
    """Of the table of runs."""
    return page.locator(f'[row-id="{run.info.run_id}"] [col-id="{column}"]')


def link(page, run):
    """To the page of a run."""
    return cell(page, run, "attributes.`Run Name`").get_by_role("link")


def lines(page, metric):
    """What is drawn in a metric's chart, two for each run: smoothed, and as it is."""
    chart = page.get_by_test_id("experiment-view-compare-runs-card").filter(has_text=metric)
    return chart.locator(".scatterlayer path.js-line")


def take(page, name, height=720):
    """A picture for the documentation, in few colours, if it is wanted."""
    if SCREENSHOTS:
        page.mouse.move(0, 0)
        path = Path(SCREENSHOTS) / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        png = page.screenshot(animations="disabled", clip={"x": 0, "y": 0, "width": 1440, "height": height})
        Image.open(io.BytesIO(png)).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def test_the_table_shows_the_members_under_their_ensemble_with_all_their_errors(page, dashboard, runs):
    page.goto(dashboard)
    expect(page.get_by_text("4 matching runs")).to_be_visible()
    for name in (ENSEMBLE, *MEMBERS):
        expect(link(page, runs[name])).to_be_in_viewport()
        for metric in (TOP1, "eval_top5_error", "val_top1_error"):
            if metric in runs[name].data.metrics:
                shown = cell(page, runs[name], f"metrics.`{metric}`")
                expect(shown).to_be_in_viewport()
                assert float(shown.inner_text()) == pytest.approx(runs[name].data.metrics[metric])
    for name in (TOP1, "eval_top5_error"):
        expect(page.get_by_role("columnheader", name=name).first).to_be_in_viewport()
    page.get_by_role("button", name="Hide banner").click()
    take(page, "runs", 440)
    cell(page, runs[ENSEMBLE], "attributes.`Run Name`").get_by_role("button").click()
    for name in MEMBERS:
        expect(link(page, runs[name])).to_have_count(0)


def test_the_page_of_a_member_has_its_curves_and_its_pictures(page, dashboard, runs):
    page.goto(dashboard)
    link(page, runs[MEMBERS[0]]).click()
    expect(page.get_by_role("link", name=ENSEMBLE)).to_be_visible()
    page.get_by_role("tab", name="Model metrics").click()
    page.get_by_placeholder("Search metric charts").fill(CURVES)
    for metric in ("val_loss", "val_top1_error"):
        expect(lines(page, metric).first).to_have_attribute("d", re.compile("^M.*L"))
    take(page, "run")
    page.get_by_role("tab", name="Artifacts").click()
    for name in ("learning_curves.png", "evaluation", "evaluation/as_trained", "evaluation/as_trained/confusion.png"):
        page.get_by_text(Path(name).name, exact=True).click()
        if name.endswith(".png"):
            expect(page.get_by_alt_text(name)).to_be_visible()
            assert page.get_by_alt_text(name).evaluate("image => image.naturalWidth") > 300


def test_the_ensemble_says_on_its_page_how_much_it_gains_over_which_members(page, dashboard, runs):
    page.goto(dashboard)
    link(page, runs[ENSEMBLE]).click()
    table = page.locator("code").filter(has_text="points over the median member")
    for name in (ENSEMBLE, *MEMBERS):
        expect(table).to_contain_text(name)
    page.get_by_role("button", name="Expand description").click()
    take(page, "ensemble", 540)


def test_the_compare_view_compares_the_members(page, dashboard, runs):
    page.goto(dashboard)
    for name in MEMBERS:
        page.locator(f'[row-id="{runs[name].info.run_id}"]').get_by_role("checkbox").check()
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("heading", name="Comparing 3 Runs")).to_be_visible()
    expect(page.locator(".js-plotly-plot canvas").first).to_be_visible()
    for name in MEMBERS:
        expect(page.get_by_role("table").get_by_text(name).first).to_be_visible()
        expect(page.get_by_text(str(round(runs[name].data.metrics[TOP1], 3))).first).to_be_attached()


def test_the_charts_have_the_curves_of_all_members_together(page, dashboard):
    page.goto(f"{dashboard}&compareRunsMode=CHART")
    page.get_by_placeholder("Search metric charts").fill(CURVES)
    for metric in ("val_loss", "val_top1_error"):
        expect(lines(page, metric)).to_have_count(2 * len(MEMBERS))
    page.get_by_role("button", name="Hide banner").click()
    take(page, "compare")


def test_a_newcomer_finds_the_view_from_mlflows_own_page_of_the_experiment(newcomer, dashboard):
    newcomer.goto(dashboard.partition("/runs?")[0])
    newcomer.get_by_role("button", name="Got it").click()  # of an advertisement
    with newcomer.context.expect_page() as opened:
        newcomer.get_by_role("link", name="Ensembles and members").click()
    expect(opened.value.get_by_role("columnheader", name=TOP1).first).to_be_visible()
