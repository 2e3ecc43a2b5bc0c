"""The least that answers as a predictor's pod does: the v2 protocol, and which version it is."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Pod:
    """A server of one version of one model; what it answers can be changed.

    Attributes:
        url: ``http://127.0.0.1:PORT``.
        code: of the answers to inferences.
        outputs: of the answers to inferences.
        requests: bodies and headers of the inferences so far.
    """

    def __init__(self, name: str, version: str) -> None:
        self.name, self.version = name, version
        self.code = 200
        self.outputs: list[dict[str, Any]] = []
        self.requests: list[tuple[bytes, dict[str, str]]] = []
        self._server = _Server(self)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """No more answers."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """What a request is answered."""
        named = {"model_name": self.name, "model_version": self.version}
        if path.endswith("/infer"):
            self.requests.append((body, headers))
            if self.code != 200:
                return self.code, {"error": "as the test has it"}
            return 200, {**named, "outputs": self.outputs}
        if path.endswith("/ready"):
            return 200, {"name": self.name, "ready": True}
        if path == f"/v2/models/{self.name}":
            return 200, {"name": self.name, "versions": [self.version], "platform": "millrace"}
        return 404, {"error": "no such path"}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, pod: Pod) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.pod = pod


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"
    server: _Server

    def log_message(self, *_: Any) -> None:
        """Tests read ``requests`` instead."""

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        code, answer = self.server.pod.answer(self.path.partition("?")[0], body, headers)
        told = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    do_GET = do_POST = _any  # noqa: N815 - as http.server names them


@contextlib.contextmanager
def pod_running(name: str, version: str) -> Iterator[Pod]:
    """A pod while the block runs."""
    made = Pod(name, version)
    try:
        yield made
    finally:
        made.close()
