"""The cluster's gateway: real HTTP requests, to real backends, by the weights that stand in it.

    with gateway(cluster) as way:
        way.serve("pvc://models/shop/1", "http://127.0.0.1:8080")
        httpx.get(f"{way.url}/v2/health/ready", headers={"Host": "shop-default.example.com"})

Backends are found as a Service finds them: by the pods that are ready, and the model these have.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from tests.kubernetes.cluster import Cluster
from tests.kubernetes.kserve_names import STORAGE_URI
from tests.kubernetes.routing import Backend, Rule, rule_for
from tests.kubernetes.workloads import is_ready

# Of one connection alone, not of what goes by it (RFC 9110, 7.6.1); and what httpx sets itself.
HOPS = ("connection", "keep-alive", "transfer-encoding", "te", "upgrade", "content-length", "host")


@dataclass(frozen=True, slots=True)
class Sent:
    """A request that came to the gateway: by which rule it went where, and what it was answered.

    Attributes:
        rule: its name; ``""`` where there was none.
        storage_uri: of the model of the pod it was sent to; ``""`` where there was none.
    """

    host: str
    rule: str
    storage_uri: str
    code: int


class Gateway:
    """Shares out requests, not by chance: after any number the shares are as near as can be.

    Attributes:
        url: of the gateway.
        sent: how many requests there were of each sort.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._lock = threading.Lock()
        self._urls: dict[str, str] = {}
        self._due: defaultdict[tuple[Any, ...], dict[str, float]] = defaultdict(dict)
        self._turns: Counter[str] = Counter()
        self._client = httpx.Client(timeout=60, follow_redirects=False)
        self.sent: Counter[Sent] = Counter()
        self._server = _Server(self)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.05},
            name="gateway",
            daemon=True,
        )
        self._thread.start()

    def close(self) -> None:
        """Take no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._client.close()

    def serve(self, storage_uri: str, url: str) -> None:
        """Have the pods with that model be reached at ``url``."""
        with self._lock:
            self._urls[storage_uri] = url

    def by_model(self, host: str | None = None) -> dict[str, int]:
        """Requests so far by the model of the pod they were sent to, of all hosts or one."""
        found: Counter[str] = Counter()
        with self._lock:
            for sent, times in self.sent.items():
                if sent.storage_uri and host in (None, sent.host):
                    found[sent.storage_uri] += times
        return dict(found)

    def answer(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> httpx.Response:
        """What a request is answered; ``headers`` have names in lower case."""
        host = headers.get("host", "").partition(":")[0]
        rule = rule_for(self._cluster, method, host, path.partition("?")[0], headers)
        uri, reply = "", httpx.Response(404)
        if rule:
            backend = self._pick(rule)
            # No backend, or one that is not there: 500, as the Gateway API asks for.
            reply = httpx.Response(500)
            if backend and backend.selector:
                uri, reply = self._sent(rule, backend, method, path, headers, body)
        with self._lock:
            self.sent[Sent(host, rule.name if rule else "", uri, reply.status_code)] += 1
        return reply

    def _pick(self, rule: Rule) -> Backend | None:
        """The one whose turn it is: each gains its weight, and pays for all when it is taken."""
        weighed = [each for each in rule.backends if each.weight > 0]
        if not weighed:
            return None
        shares = tuple((each.name, each.weight) for each in weighed)
        total = sum(each.weight for each in weighed)
        with self._lock:
            due = self._due[(rule.name, shares)]
            for each in weighed:
                due[each.name] = due.get(each.name, 0) + each.weight
            taken = max(weighed, key=lambda each: due[each.name])
            due[taken.name] -= total
        return taken

    def _sent(
        self,
        rule: Rule,
        backend: Backend,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
    ) -> tuple[str, httpx.Response]:
        pods = self._cluster.list("Pod", backend.namespace, backend.selector)
        uris = [
            pod["metadata"]["annotations"].get(STORAGE_URI, "") for pod in pods if is_ready(pod)
        ]
        if not uris:
            return "", httpx.Response(503, text="no healthy upstream")
        with self._lock:
            turn = self._turns[backend.name]
            self._turns[backend.name] += 1
            uri = uris[turn % len(uris)]
            url = self._urls.get(uri)
        if url is None:
            raise LookupError(f"the test serves no {uri}: Gateway.serve")
        kept = {name: each for name, each in headers.items() if name not in HOPS}
        try:
            reply = self._client.request(
                method, url + path, headers=kept | dict(rule.headers), content=body
            )
        except httpx.TransportError:
            reply = httpx.Response(503, text="upstream connect error or disconnect")
        return uri, reply


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.gateway = gateway


class _Connection(BaseHTTPRequestHandler):
    # One request a connection: nothing is left open when the test ends.
    protocol_version = "HTTP/1.0"
    server: _Server

    def log_message(self, *_: Any) -> None:
        """Tests read ``sent`` instead."""

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.server.gateway.answer(self.command, self.path, headers, body)
        self.send_response(reply.status_code)
        for name, value in reply.headers.items():
            # httpx has decoded it.
            if name not in (*HOPS, "content-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.content)))
        self.end_headers()
        self.wfile.write(reply.content)

    do_GET = do_POST = do_PUT = do_DELETE = _any  # noqa: N815 - as http.server names them


@contextlib.contextmanager
def gateway(cluster: Cluster) -> Iterator[Gateway]:
    """The cluster's gateway while the block runs."""
    made = Gateway(cluster)
    try:
        yield made
    finally:
        made.close()
