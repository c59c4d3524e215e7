"""jobs/sync.py with a run's folder that somebody else made."""

import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from mlflow import MlflowClient

from pipelines.config import TrackingSettings
from pipelines.tracking.base import now_ms
from pipelines.tracking.entries import Begin, File
from pipelines.tracking.spool import Spool
from pipelines.tracking.store import connect
from tests.jobs.commands import call_in_process


def planted(folder, uri, artifacts="unused"):
    """A run that would put a key among those that open the account."""
    begin = Begin(spool=os.urandom(8).hex(), name="gift", experiment="e", uri=uri, artifacts=artifacts, at_ms=now_ms())
    spool = Spool(folder / "gift" / "spool" / "0001", begin)
    (folder / "authorized_keys").write_text("harmless\n")
    spool.append(File(path=spool.keep(folder / "authorized_keys"), folder=".ssh"))
    spool.close()
    return str(folder / "gift")


@pytest.fixture
def listener():
    """A server that keeps what it is asked with."""
    heard = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            heard.append(dict(self.headers))
            self.send_error(500)

        def do_GET(self):
            self.do_POST()

        def do_PUT(self):
            self.do_POST()

        log_message = staticmethod(lambda *_: None)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    server.heard = heard
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def sync(words, monkeypatch, capsys):
    return call_in_process("jobs/sync.py", words, monkeypatch, capsys)


@pytest.mark.attack
def test_a_store_that_a_run_names_is_told_no_password_unless_the_user_names_it_too(
    listener, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    address = f"http://127.0.0.1:{listener.server_port}"
    gift = planted(tmp_path, address)
    printed, status = sync([gift], monkeypatch, capsys)
    assert status == 2
    assert f"it says that it goes to {address}: if you trust that store, give uri=…\n" in printed
    assert not listener.heard
    assert sync([gift, f"uri={address}"], monkeypatch, capsys)[1] == 2
    assert any("Authorization" in headers for headers in listener.heard)


@pytest.mark.attack
def test_a_database_that_a_run_names_is_not_opened(tmp_path, monkeypatch, capsys):
    gift = planted(tmp_path, f"sqlite:///{tmp_path}/theirs.db", str(tmp_path / "home"))
    printed, status = sync([gift], monkeypatch, capsys)
    assert status == 2
    assert "if you trust that store, give uri=…" in printed
    assert not (tmp_path / "theirs.db").exists()
    assert not (tmp_path / "home").exists()


@pytest.mark.attack
def test_a_server_that_a_store_would_have_files_sent_to_is_told_no_password(listener, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    uri, elsewhere = f"sqlite:///{tmp_path}/mlflow.db", f"http://127.0.0.1:{listener.server_port}/files"
    client = connect(TrackingSettings(uri=uri, artifacts=tmp_path / "artifacts"), create=True)
    client.create_experiment("e", artifact_location=elsewhere)
    printed, status = sync([planted(tmp_path, uri), f"uri={uri}"], monkeypatch, capsys)
    assert not listener.heard
    assert status == 2
    assert f"the store would have its files in {elsewhere}, which would be told the password of {uri}" in printed


def test_files_go_below_the_folder_for_artifacts_alone_wherever_the_store_would_have_them(
    tmp_path, monkeypatch, capsys
):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = connect(TrackingSettings(uri=uri, artifacts=tmp_path / "artifacts"), create=True)
    client.create_experiment("e", artifact_location=(tmp_path / "home").as_uri())
    words = [planted(tmp_path, uri), f"uri={uri}"]
    printed, status = sync([*words, f"artifacts={tmp_path}/artifacts"], monkeypatch, capsys)
    assert status == 2
    assert f"the store would have its files in {tmp_path}/home, on this machine and outside of" in printed
    assert not (tmp_path / "home").exists()

    assert sync([*words, f"artifacts={tmp_path}/home"], monkeypatch, capsys)[1] == 0
    (run,) = MlflowClient(uri).search_runs([client.get_experiment_by_name("e").experiment_id])
    assert (tmp_path / "home" / run.info.run_id / "artifacts" / ".ssh" / "authorized_keys").exists()
