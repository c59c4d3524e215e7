import csv
import io

import pytest

from pipelines.config import InputError
from pipelines.summary.inputs import Input, usual_input
from pipelines.summary.summary import summarize_named
from pipelines.summary.table import Table, layers_table, rounded

TABLE = Table("Some", ("name", "pixels", "share"), (("a", 1234, 0.5), ("bcd", None, None)), ("a note",))


@pytest.fixture(scope="module")
def lenet():
    return summarize_named("lenet5_modern", 64, usual_input("lenet5_modern"), {})


@pytest.mark.parametrize(
    ("count", "text"),
    [(150_528, "150K"), (3_211_264, "3.2M"), (802_816, "800K"), (25_088, "25K"), (999, "999"), (999_999, "1M")],
)
def test_counts_are_rounded_as_they_are_taught(count, text):
    assert rounded(count) == text


def test_more_digits_are_to_be_had():
    assert rounded(138_357_544, 3) == "138M"


def test_text_has_columns_in_line_and_numbers_flush_right():
    assert TABLE.text() == "Some\n\nname  pixels  share\na      1,234    0.5\nbcd\n\na note"


def test_markdown_says_which_columns_are_numbers():
    assert TABLE.markdown().split("\n")[2:6] == [
        "| name | pixels | share |",
        "| --- | ---: | ---: |",
        "| a | 1,234 | 0.5 |",
        "| bcd |  |  |",
    ]


def test_csv_has_exact_numbers(lenet):
    lines = list(csv.DictReader(io.StringIO(layers_table(lenet).csv())))
    assert (lines[1]["activations"], lines[1]["bytes"], lines[1]["weights"]) == ("4704", "18816", "150")
    assert lines[-1]["layer"] == "total"
    assert int(lines[-1]["weights"]) + int(lines[-1]["biases"]) == 61_706


def test_memory_of_training_is_what_is_kept_and_three_times_the_parameters(lenet):
    assert lenet.training_bytes == lenet.kept_bytes + 3 * 4 * 61_706
    assert lenet.forward_bytes == 4 * lenet.activations
    note = next(note for note in layers_table(lenet).notes if note.startswith("training, a batch of 64"))
    assert "kept for backward" in note
    assert "parameters 0.2 MB + gradients 0.2 MB + momentum 0.2 MB" in note


def test_images_too_small_for_a_network_are_refused():
    with pytest.raises(InputError, match="input_size: vgg_d: of images of 16 x 16"):
        summarize_named("vgg_d", 2, Input((16, 16), 3, 10), {})
    with pytest.raises(InputError, match="input_size: lenet5_modern cannot take images of 8x8x1"):
        summarize_named("lenet5_modern", 2, Input((8, 8), 1, 10), {})


def test_a_batch_that_cannot_be_normalised_is_refused():
    with pytest.raises(InputError, match="batch_size = 1: resnet18 cannot train on it"):
        summarize_named("resnet18", 1, Input((32, 32), 3, 10), {})


def test_unknown_networks_and_options_are_refused_by_their_key():
    with pytest.raises(InputError, match=r"^network = 'vgg_x': no such network"):
        usual_input("vgg_x")
    with pytest.raises(InputError, match=r"^options\.batch_nrm: vgg_d has no such option"):
        summarize_named("vgg_d", 2, usual_input("vgg_d"), {"batch_nrm": True})


def test_images_need_not_be_square():
    rows = summarize_named("vgg_a", 2, Input((64, 96), 3, 10), {}).rows
    assert [row.volume for row in rows if row.module == "pool5"] == [(2, 3, 512)]
    fc6 = next(row for row in rows if row.module == "fc6")
    assert fc6.fields[1].size - fc6.fields[0].size == 32
