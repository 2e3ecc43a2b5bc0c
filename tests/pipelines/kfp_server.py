"""A small real HTTP server that speaks the routes of KFP's v2beta1 API which its client asks."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

TOKEN = "a token"
NOW = "2026-01-01T00:00:00Z"


@dataclass
class KfpServer:
    """What it was asked, and what it has made."""

    url: str = ""
    refuses: str = ""  # with these words; empty: it takes runs
    wants_token: bool = False
    experiments: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, method: str, path: str, body: bytes, token: str) -> tuple[int, dict[str, Any]]:
        """Status and content."""
        parts = urlsplit(path)
        if self.wants_token and token != f"Bearer {TOKEN}":
            return 401, {"error": "who are you?"}
        match method, parts.path.removeprefix("/apis/v2beta1/"):
            case "GET", "healthz":
                return 200, {"multi_user": False}
            case "GET", "experiments":
                wanted = json.loads(parse_qs(parts.query)["filter"][0])["predicates"][0]
                named = wanted.get("stringValue") or wanted["string_value"]
                found = [one for one in self.experiments.values() if one["display_name"] == named]
                return 200, {"experiments": found, "total_size": len(found)}
            case "POST", "experiments":
                made = json.loads(body) | {"experiment_id": f"e{len(self.experiments)}"}
                self.experiments[made["experiment_id"]] = made
                return 200, made | {"created_at": NOW}
            case "POST", "runs":
                return self._run(json.loads(body))
        return 404, {"error": f"{method} {path}", "message": "no such route"}

    def _run(self, run: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if self.refuses:
            return 400, {"error": "InvalidArgument", "message": self.refuses}
        if run.get("experiment_id") not in self.experiments:
            return 404, {"message": f"no experiment {run.get('experiment_id')}"}
        spec = run["pipeline_spec"]["pipeline_spec"]
        wanted = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
        given = run["runtime_config"]["parameters"]
        definitions = wanted.root.input_definitions.parameters
        unknown = set(given) - set(definitions)
        missing = {n for n, one in definitions.items() if not one.is_optional} - set(given)
        if unknown or missing:
            return 400, {"message": f"unknown {sorted(unknown)}, missing {sorted(missing)}"}
        self.runs.append(run)
        return 200, {"run_id": f"r{len(self.runs)}", "created_at": NOW, **run}


@contextmanager
def running() -> Iterator[KfpServer]:
    """One, on a port of its own."""
    state = KfpServer()

    class Routes(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            token = self.headers.get("Authorization", "")
            status, content = state.answer(self.command, self.path, body, token)
            text = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = _answer  # noqa: N815 (the base class' names)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Routes) as server:
        state.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
