"""A pod for ``millrace top``: an HTTP server that says what a test puts into it."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STAGES = "/v2/models/digits/stages"

# Stage, images/s, busy ms, utilisation, workers, worker.
_STAGES = (
    ("receive", 2300.0, 0.21, 0.16, 1, "event loop"),
    ("decode", 412.0, 4.9, 0.93, 2, "decode thread"),
    ("queue", 9000.0, 28.4, 0.05, 256, "slot"),
    ("copy", 4000.0, 0.2, 0.1, 1, "feeder"),
    ("infer", 905.0, 1.1, 0.41, 1, "instance"),
    ("collect", 8000.0, 0.1, 0.05, 1, "instance"),
    ("respond", 3000.0, 0.3, 0.12, 1, "connection"),
)
_FIELDS = ("name", "capacity", "busy_ms", "utilisation", "workers", "worker")


def stages_body(**changes: object) -> dict[str, object]:
    """What the pod answers: decode limits, one of two instances is down."""
    busy = {
        "instance": 0, "device": "cpu:0", "up": True, "queue": 4, "busy_ratio": 0.93,
        "images_per_second": 190.3, "mean_batch": 3.4, "max_batch_size": 8,
    }  # fmt: skip
    down = {
        "instance": 1, "device": "cuda:0", "up": False, "queue": None, "busy_ratio": None,
        "images_per_second": None, "mean_batch": None, "max_batch_size": 8,
    }  # fmt: skip
    return {
        "name": "digits",
        "version": "1",
        "window_s": 10.0,
        "bottleneck": "decode",
        "advice": "decode limits: 412 img/s on 2 threads; infer could do 905: add 3 decode threads",
        "images_per_second": 380.2,
        "capacity": 412.0,
        "headroom": 31.8,
        "latency_ms": {"p50": 8.1, "p99": 21.0},
        "stages": [dict(zip(_FIELDS, row, strict=True)) for row in _STAGES],
        "cores": {"count": 2, "capacity": 480.0, "busy_ms": 4.1, "utilisation": 0.79},
        "queue": {"slots": 256, "taken": 14, "coming": 5},
        "instances": [busy, down],
        "batch_sizes": {"1": 20, "4": 88},
    } | changes


def nothing_measured() -> dict[str, object]:
    """The same pod before its first image."""
    body = json.loads(json.dumps(stages_body()), parse_float=lambda _: None)
    return body | {"bottleneck": None, "advice": None, "batch_sizes": {}}


class Pod:
    """Answers on one port of this machine, can die and come back on it; a context manager.

    ``pages`` are the bodies by path: JSON, or bytes as they are; other paths are 404.
    """

    def __init__(self) -> None:
        self.pages: dict[str, object] = {
            "/v2/models": {"models": ["digits"]},
            STAGES: stages_body(),
        }
        self._port = 0
        self._server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Pod:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.die()

    @property
    def url(self) -> str:
        """Its address, which stays the same after a death."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listen; at the second time on the port of the first."""
        pages = self.pages

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                known = self.path in pages
                said = pages[self.path] if known else {"error": f"nothing at {self.path}"}
                body = said if isinstance(said, bytes) else json.dumps(said).encode()
                self.send_response(200 if known else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Answers)
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def die(self) -> None:
        """Answer nobody any more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
