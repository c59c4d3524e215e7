import ipaddress
import json

import pytest

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
