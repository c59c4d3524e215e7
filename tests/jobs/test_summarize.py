"""jobs/summarize.py, by the words that a user types."""

from types import SimpleNamespace

import pytest
from PIL import Image

from jobs.train import summary_of
from pipelines.config import TrainSettings
from pipelines.summary.table import layers_table
from tests.conftest import REPOSITORY
from tests.jobs.commands import call, call_in_process

JOB = str(REPOSITORY / "jobs" / "summarize.py")


@pytest.fixture
def summarize(monkeypatch, capsys, tmp_path):
    """Runs the job in an empty folder; what it printed on either stream, and its status."""
    monkeypatch.chdir(tmp_path)

    return lambda *words: call_in_process(JOB, [*words], monkeypatch, capsys)


def test_a_network_is_named_by_the_first_word(summarize):
    printed, status = summarize("lenet5_modern")
    assert status == 0
    assert printed.startswith("lenet5_modern: 32x32x1 to 10 classes, 5 layers with weights, float32\n")
    assert "150 weights" not in printed
    assert "61,470 weights + 236 biases = 61,706" in printed


def test_size_classes_channels_batch_and_options_can_be_set(summarize):
    settings = ("input_size=64", "num_classes=7", "in_channels=1", "batch_size=5", "options.batch_norm=true")
    printed, _ = summarize("vgg_a", *settings)
    assert printed.startswith("vgg_a: 64x64x1 to 7 classes")
    assert "training, a batch of 5: " in printed
    assert "bn1_1" in printed


@pytest.mark.parametrize(
    ("name", "begins"), [("some.md", "**lenet5_modern: "), ("a/b.csv", "module,layer,"), ("c.txt", "lenet5_modern: ")]
)
def test_the_outputs_name_says_its_format(summarize, tmp_path, name, begins):
    assert summarize("lenet5_modern", f"output={name}") == (f"written: {name}\n", 0)
    assert (tmp_path / name).read_text().startswith(begins)


def test_a_format_can_be_asked_for(summarize):
    assert summarize("lenet5_modern", "format=csv")[0].startswith("module,layer,")
    printed, _ = summarize("lenet5_modern", "format=picture")
    assert printed == "written: work/summaries/lenet5_modern.png\n"
    assert Image.open("work/summaries/lenet5_modern.png").width > 1000


def test_compare_is_a_switch_for_tables_and_a_picture(summarize):
    printed, status = summarize("--compare")
    assert status == 0
    assert printed.startswith("The revolution of depth\n")
    assert "\nPublished errors\n" in printed
    assert summarize("compare=true", "output=depth.png") == ("written: depth.png\n", 0)
    assert Image.open("depth.png").width > 1000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "network is missing: name one first, as in `summarize.py vgg_d`, or give --compare"),
        (("vgg_x",), "network = 'vgg_x': no such network; there are"),
        (("vgg_d", "--compare"), "network is for one network and --compare takes all as in their papers"),
        (("--compare", "input_size=32"), "input_size is for one network"),
        (("vgg_d", "inputsize=3"), "inputsize is no setting; did you mean input_size?"),
        (("vgg_d", "input_size=0"), "input_size = 0: it should be greater than or equal to 1"),
        (("vgg_d", "input_size=16"), "input_size: vgg_d: of images of 16 x 16"),
        (("vgg_d", "options.dropout=2"), "options.dropout = 2: expected a share"),
        (("vgg_d", "output=x.doc"), "output = x.doc: its name ends with none of .txt .md"),
        (("vgg_d", "output=x.md", "format=picture"), "output = x.md: a picture's name ends with .png, .svg or .pdf"),
        (("vgg_d", "vgg_e"), "vgg_e: expected key=value"),
    ],
)
def test_a_mistake_names_the_key_and_what_to_do(summarize, words, message):
    printed, status = summarize(*words)
    assert status == 2
    assert message in printed


@pytest.mark.processes
def test_it_runs_as_the_readme_says():
    assert "138,357,544" in call("python", "jobs/summarize.py", "vgg_d")
    assert "usage: python jobs/summarize.py [NETWORK] [key=value …]" in call("python", "jobs/summarize.py", "--help")


def test_a_training_logs_the_network_as_it_is_trained():
    model = {"name": "vgg_a", "options": {"batch_norm": True}}
    settings = TrainSettings.model_validate({"dataset": "d", "model": model, "loader": {"global_batch": 64}})
    trainer = SimpleNamespace(settings=settings, workers=SimpleNamespace(size=2), about={"input_size": [32, 32]})
    text = layers_table(summary_of(trainer, SimpleNamespace(channels=1, classes=range(7)))).text()
    assert text.startswith("vgg_a: 32x32x1 to 7 classes")
    assert "bn1_1" in text
    assert "training, a batch of 32: " in text
