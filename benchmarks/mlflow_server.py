"""A real MLflow server that can be killed, stopped and restarted, and a proxy that loses what it is told to lose."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.request import urlopen

START_TIMEOUT_S = 120


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as held:
        return int(held.getsockname()[1])


class MlflowServer:
    """One on loopback; its store outlives it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        """Returns once it answers."""
        assert not self.is_running, "signals would go to another process than the one that answers"
        command = [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)),
            *("--workers", "1", "--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db"),
            *("--artifacts-destination", str(self.folder / "artifacts")),
        ]
        self.folder.mkdir(parents=True, exist_ok=True)
        log = (self.folder / "server.log").open("ab")
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=environment)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "server.log").read_text()[-2000:]
            assert time.monotonic() < deadline, (self.folder / "server.log").read_text()[-2000:]
            time.sleep(0.2)

    def _answers(self) -> bool:
        try:
            with urlopen(f"{self.uri}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def signal(self, number: int) -> None:
        """To the server and its workers."""
        assert self._process is not None, "it was started"
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        if self._process is not None:
            self.signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


Fault = Callable[[str, str, bytes], str]
"""Of a request (method, path, body): `pass`, `fail` (answered 500, nothing done) or `lose` (done, never answered)."""


def first_time(fault: str) -> Fault:
    """Each request meets the fault the first time that it is made, and passes from then on."""
    seen: set[str] = set()

    def decide(method: str, path: str, body: bytes) -> str:
        key = hashlib.sha256(f"{method} {path} ".encode() + body).hexdigest()
        if key in seen:
            return "pass"
        seen.add(key)
        return fault

    return decide


class Proxy:
    """Between a client and a server on loopback."""

    def __init__(self, target_port: int) -> None:
        self.fault: Fault = lambda method, path, body: "pass"
        self.count = 0
        """Of faults."""
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def handle_one(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                decision = proxy.fault(self.command, self.path, body)
                proxy.count += decision != "pass"
                self.close_connection = True
                if decision == "fail":
                    self.send_error(500)
                    return
                headers = {name: value for name, value in self.headers.items() if name != "Connection"}
                connection = HTTPConnection("127.0.0.1", target_port, timeout=60)
                connection.request(self.command, self.path, body, headers)
                answer = connection.getresponse()
                content = answer.read()
                connection.close()
                if decision == "pass":
                    self.answer(answer.status, answer.headers.get("Content-Type", "application/json"), content)

            def answer(self, status: int, kind: str, content: bytes) -> None:
                with suppress(OSError):  # the client waits no longer
                    self.send_response(status)
                    self.send_header("Content-Type", kind)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_one  # noqa: N815 - names of http.server

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def proxied(server: MlflowServer) -> Iterator[Proxy]:
    proxy = Proxy(server.port)
    try:
        yield proxy
    finally:
        proxy.close()
