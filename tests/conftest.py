"""Fixtures that several tests share: a real Spark session, the digits as a real dataset."""

import hashlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest
from moto.server import ThreadedMotoServer
from pyarrow.fs import S3FileSystem
from pyspark.sql import SparkSession

from pipelines.config import PreprocessSettings
from pipelines.dataset.manifest import Manifest
from pipelines.dataset.storage import Location
from pipelines.preprocess.make_dataset import make_dataset
from pipelines.spark import spark_session

hypothesis.settings.register_profile("any machine", deadline=None)  # how long an example takes is not asserted
hypothesis.settings.load_profile("any machine")

REPOSITORY = Path(__file__).resolve().parent.parent
DIGITS: dict[str, dict[str, object]] = {
    "source": {"kind": "digits"},
    "image": {"channels": 1, "resize": "square", "size": 32, "format": "png"},
    "output": {"rows_per_group": 64, "rows_per_file": 512},
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast tests first: those that start several processes go last."""
    items.sort(key=lambda item: item.get_closest_marker("processes") is not None)


os.environ |= {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "no-secret-of-anybody", "AWS_REGION": "us-east-1"}


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    os.environ["PYSPARK_SUBMIT_ARGS"] = (
        "--master local[2] --conf spark.ui.enabled=false --conf spark.sql.shuffle.partitions=4 pyspark-shell"
    )
    session = spark_session("strata-tests")
    yield session
    session.stop()


@pytest.fixture(scope="session")
def object_store() -> Iterator[str]:
    """The address of an S3 server on loopback, which the environment points to."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(object_store: str, request: pytest.FixtureRequest) -> Location:
    """A new bucket on that server."""
    name = "bucket-" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:20]
    endpoint = object_store.removeprefix("http://")
    S3FileSystem(endpoint_override=endpoint, scheme="http", allow_bucket_creation=True).create_dir(name)
    return Location.at(f"s3://{name}")


@dataclass(frozen=True)
class Dataset:
    root: Path
    manifest: Manifest


@pytest.fixture(scope="session")
def digits(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """scikit-learn's digits as preprocess makes them; tests must not change its files."""
    root = tmp_path_factory.mktemp("digits") / "data set"  # the blank is on purpose: paths have them
    settings = PreprocessSettings.model_validate(DIGITS | {"output": DIGITS["output"] | {"path": str(root)}})
    return Dataset(root, make_dataset(spark, settings))
