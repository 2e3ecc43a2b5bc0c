"""An OpenTelemetry collector over OTLP/HTTP that keeps what it gets."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector(ThreadingHTTPServer):
    """Takes spans, or refuses them with another status."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Post)
        self.status = 200
        self.paths: list[str] = []
        self.spans: list[Span] = []
        self.resources: list[dict[str, str]] = []
        self.asked = threading.Semaphore(0)  # released once a batch
        self.url = f"http://127.0.0.1:{self.server_port}"

    def take(self, path: str, body: bytes) -> int:
        """Keep a batch and say with which status it is answered."""
        if self.status == 200:
            self.paths.append(path)
            for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                named = {item.key: item.value for item in of_resource.resource.attributes}
                self.resources.append({key: value.string_value for key, value in named.items()})
                for of_scope in of_resource.scope_spans:
                    self.spans.extend(of_scope.spans)
        return self.status

    def requests(self) -> list[Span]:
        """The spans of whole requests."""
        return [span for span in self.spans if span.kind == Span.SPAN_KIND_SERVER]

    def parts(self, of: Span) -> dict[str, Span]:
        """A request's stages by their names."""
        return {span.name: span for span in self.spans if span.parent_span_id == of.span_id}


class _Post(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(self.server.take(self.path, body))
        self.send_header("content-length", "0")
        self.end_headers()
        self.server.asked.release()

    def log_message(self, *_args: object) -> None:
        pass


def running_collector() -> Iterator[Collector]:
    """A collector on a port of its own, for a fixture."""
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
