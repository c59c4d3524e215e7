import pytest

from pipelines.config import InputError
from pipelines.scoring.output import Output, Report, report_last

REPORT = Report(
    identity="0" * 64, model="m", source="s", scored=1, rejected={}, images_of_this_run=1, seconds=2.0, settings={}
)


def made(output):
    """An output that is finished, but not published."""
    (output.unfinished / "scores/part-00000.parquet").write_bytes(b"scores")
    (output.unfinished / "scores/.part-00000.parquet.1f.tmp").write_bytes(b"of an executor that was killed")
    (output.unfinished / "journal/wave-00000.jsonl").write_bytes(b"{}")
    output.finish(REPORT)
    return output


def names(folder):
    return sorted(str(info.path).removeprefix(f"{folder.path}/") for info in folder.files(below=True))


def test_nothing_is_in_sight_until_it_is_published(tmp_path):
    output = made(Output.of(str(tmp_path / "out"), REPORT.identity))
    assert [path.name for path in tmp_path.iterdir()] == [".out-000000000000.unfinished"]
    assert output.published() is None
    assert output.publish() == output.published() == REPORT
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert names(output.target) == ["report.json", "scores/part-00000.parquet"]


def test_an_empty_folder_may_be_there(tmp_path):
    (tmp_path / "out").mkdir()
    assert made(Output.of(str(tmp_path / "out"), REPORT.identity)).publish() == REPORT


def test_in_a_store_without_folders_a_job_that_was_killed_while_it_published_goes_on(bucket):
    path = str(bucket / "out")
    output = made(Output.of(path, REPORT.identity))
    (output.unfinished / "scores/part-00000.parquet").rename(output.target / "scores/part-00000.parquet")
    again = Output.of(path, REPORT.identity)
    assert again.published() is None
    assert again.finished() == again.publish() == again.published() == REPORT
    assert names(output.target) == ["report.json", "scores/part-00000.parquet"]
    assert names(output.unfinished) == []


def test_where_files_come_into_sight_one_by_one_the_report_is_the_last():
    names = ["report.json", "scores/part-00001.parquet", "rejects/part-00000.parquet", "scores/part-00000.parquet"]
    assert report_last(names) == [*sorted(names[1:]), "report.json"]


def test_other_scores_and_other_things_are_not_replaced(tmp_path):
    made(Output.of(str(tmp_path / "out"), REPORT.identity)).publish()
    with pytest.raises(InputError, match="out holds other scores, of s by m: give another path, or remove them"):
        Output.of(str(tmp_path / "out"), "1" * 64)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="file is there already, but holds no scores"):
        Output.of(str(tmp_path / "file"), REPORT.identity)
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(InputError, match=r"report.json is no report of jobs/score.py: give another output.path"):
        Output.of(str(tmp_path), REPORT.identity)
