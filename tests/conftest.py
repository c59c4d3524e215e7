"""Fixtures that several tests share: a real Spark session, the digits as a real dataset."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from pipelines.config import PreprocessSettings
from pipelines.dataset.manifest import Manifest
from pipelines.preprocess.make_dataset import make_dataset
from pipelines.preprocess.session import spark_session

REPOSITORY = Path(__file__).resolve().parent.parent
DIGITS: dict[str, dict[str, object]] = {
    "source": {"kind": "digits"},
    "image": {"channels": 1, "resize": "square", "size": 32, "format": "png"},
    "output": {"rows_per_group": 64, "rows_per_file": 512},
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast tests first: those that start several processes go last."""
    items.sort(key=lambda item: item.get_closest_marker("processes") is not None)


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


@dataclass(frozen=True)
class Dataset:
    root: Path
    manifest: Manifest


@pytest.fixture(scope="session")
def digits(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """scikit-learn's digits as preprocess makes them; tests must not change its files."""
    root = tmp_path_factory.mktemp("digits") / "data set"  # the blank is on purpose: paths have them
    settings = PreprocessSettings.model_validate(DIGITS | {"output": DIGITS["output"] | {"path": root}})
    return Dataset(root, make_dataset(spark, settings))
