import re

from pipelines.preprocess.sources.progress import ProgressLines


def test_a_line_tells_amount_rate_and_time_left(capsys):
    progress = ProgressLines("md5 of a.tar", 200, "GB", every_s=0)
    progress.add(50)
    pattern = r"  md5 of a\.tar: 50 of 200 GB, [\d.e+]+ GB/s, \d+ s left\n"
    assert re.fullmatch(pattern, capsys.readouterr().out)


def test_what_is_quick_prints_nothing(capsys):
    progress = ProgressLines("listing", 2, "parts")
    progress.add(1)
    progress.add(1)
    assert capsys.readouterr().out == ""
