import ipaddress
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipelines.spark import Progress
from tests.jobs.commands import call

LISTENING = """
import json, psutil
from pipelines.spark import spark_session

spark_session("listening").range(10).count()
spark = next(one for one in psutil.Process().parents() if "java" in one.name())
found = [one.laddr.ip for process in [spark, *spark.children(recursive=True)]
         for one in process.net_connections("inet") if one.status == "LISTEN"]
print(json.dumps(found))
"""


def addresses(tmp_path, *options):
    (tmp_path / "listening.py").write_text(LISTENING)
    *_, last = (
        call("env", "-u", "SPARK_LOCAL_IP", "spark-submit", *options, tmp_path / "listening.py").strip().splitlines()
    )
    return [ipaddress.ip_address(address.removeprefix("::ffff:")) for address in json.loads(last)]


@pytest.mark.attack
@pytest.mark.processes
def test_without_a_cluster_spark_cannot_be_reached_from_other_machines(tmp_path):
    found = addresses(tmp_path)
    assert found
    assert all(address.is_loopback for address in found)
    found = addresses(tmp_path, "--conf", "spark.ui.enabled=true")
    assert not all(address.is_loopback for address in found)  # whoever asks for Spark's pages gets them


def test_progress_counts_the_stages_that_have_ended_too(spark, tmp_path):
    """Two tasks, then two that wait: half of the work is done."""

    def wait(keys):
        while not Path(tmp_path, "go on").exists():
            time.sleep(0.05)
        return keys

    progress = Progress(spark, "numbers", 100)
    shuffled = spark.sparkContext.parallelize(range(4), 2).map(lambda key: (key, time.sleep(0.5))).groupByKey(2)

    def lines():
        seen, deadline = [], time.monotonic() + 30
        while time.monotonic() < deadline and "50 of 100" not in seen:
            seen.append(re.search(r"numbers: (\d+ of 100)", progress.line())[1])
            time.sleep(0.05)
        (tmp_path / "go on").touch()
        return seen

    with ThreadPoolExecutor(1) as thread, progress.wave(4, 100):
        seen = thread.submit(lines)
        assert shuffled.mapPartitions(wait).count() == 4
    assert seen.result()[-1] == "50 of 100"
    assert "numbers: 100 of 100" in progress.line()
