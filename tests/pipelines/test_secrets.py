import subprocess
import sys

import pytest

from pipelines.config import InputError, TrainSettings, without_secrets
from pipelines.dataset.storage import Location


@pytest.mark.attack
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:secret@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("https://token@host/path", "https://***@host/path"),
        ("s3://KEY:sec%2Fret@bucket/a?region=x", "s3://KEY:***@bucket/a?region=x"),
        ("s3://b/a?region=x&secret_key=abc&scheme=http", "s3://b/a?region=x&secret_key=***&scheme=http"),
        ("s3://b?endpoint_override=http%3A%2F%2Fk%3Asecret%40h", "s3://b?endpoint_override=http%3A%2F%2Fk:***%40h"),
        ("request to http://u:p@h:1/api failed", "request to http://u:***@h:1/api failed"),
        ("postgresql://me:a/b:c@host/db", "postgresql://me:***@host/db"),
        ("https://me%40firm.com:secret@host/x", "https://me%40firm.com:***@host/x"),
        ("http://me:sec@ret@host/x", "http://me:***@host/x"),
        ("http://me:sec'ret@host/x", "http://me:***@host/x"),
        (
            "s3://b?endpoint_override=http%3A%2F%2Fk%3Ase%40cret%40h&x=1",
            "s3://b?endpoint_override=http%3A%2F%2Fk:***%40h&x=1",
        ),
        (
            "mssql+pyodbc:///?odbc_connect=UID%3Dme%3BPWD%3Dsecret%3B",
            "mssql+pyodbc:///?odbc_connect=UID%3Dme%3BPWD%3D***%3B",
        ),
        ("host=h user=me password=secret dbname=x", "host=h user=me password=*** dbname=x"),
        ('{"user": "me", "password": "secret"}', '{"user": "me", "password": "***"}'),
        ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer ***"),
        ("password='sec ret' dbname=x", "password='***' dbname=x"),
        ('{"password": "sec\\"ret", "a": 1}', '{"password": "***", "a": 1}'),
        ("Driver=x;PWD={sec;ret};UID=me", "Driver=x;PWD=***;UID=me"),
        ("password=sec%20ret dbname=x", "password=*** dbname=x"),
        ("token=secret", "token=***"),
        ('{"token": "secret"}', '{"token": "***"}'),
        ("AWS_SESSION_TOKEN=secret", "AWS_SESSION_TOKEN=***"),
        ("HF_TOKEN: secret", "HF_TOKEN: ***"),
        ("x-api-key: secret", "x-api-key: ***"),
        ("x-auth-token: secret", "x-auth-token: ***"),
        ("Authorization: Token secret", "Authorization: Token ***"),
        ("private_key=secret", "private_key=***"),
        ("passphrase=secret", "passphrase=***"),
        ("spark.hadoop.fs.s3a.secret.key=secret", "spark.hadoop.fs.s3a.secret.key=***"),
        ("tool --password secret --verbose", "tool --password *** --verbose"),
        ("SharedAccessSignature=sv=secret", "SharedAccessSignature=***"),
        ("AccountName=me;AccountKey=secret==;x", "AccountName=me;AccountKey=***;x"),
        ("unexpected token: '}'; tokens: 512", "unexpected token: '}'; tokens: 512"),
        ("a basic network, its key = 3 and sigma=0.5", "a basic network, its key = 3 and sigma=0.5"),
        ("http://host:5000/api?page=2", "http://host:5000/api?page=2"),
        ("sqlite:///work/mlflow.db", "sqlite:///work/mlflow.db"),
        ("hdfs://me@host:9000/data", "hdfs://me@host:9000/data"),
    ],
)
def test_passwords_and_keys_in_addresses_are_hidden_and_nothing_else_is(text, shown):
    assert without_secrets(text) == shown


@pytest.mark.attack
@pytest.mark.parametrize("piece", ["://a:", "?key", "password='", "--token", "%3A%2F%2Fa:", "token", "authorization:"])
def test_a_long_text_takes_no_more_than_a_time_in_proportion_to_its_length(piece):
    program = f"from pipelines.config import without_secrets; without_secrets({piece!r} * (1_000_000 // {len(piece)}))"
    subprocess.run([sys.executable, "-c", program], timeout=60, check=True)


def test_an_error_shows_no_password():
    assert "secret" not in str(InputError("http://me:secret@host: not reachable"))


def test_settings_that_are_kept_with_a_run_hold_no_password():
    settings = TrainSettings.model_validate(
        {
            "dataset": "s3://KEY:secret@bucket/digits",
            "model": {"name": "lenet5"},
            "tracking": {"uri": "http://me:secret@h"},
        }
    )
    assert "secret" not in str(settings.shown())
    assert settings.flat()["dataset"] == "s3://KEY:***@bucket/digits"


def test_keys_in_an_address_of_s3_open_the_bucket_and_are_not_shown(bucket, object_store):
    (bucket / "file").write_bytes(b"content")
    name = str(bucket).removeprefix("s3://")
    location = Location.at(f"s3://KEY:secret@{name}/file?region=us-east-1")
    assert location.read_bytes() == b"content"
    assert str(location) == f"s3://{name}/file?region=us-east-1"
