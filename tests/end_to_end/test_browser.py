"""A page in a real browser asks a pod from another origin."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.conftest import colour_image

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (Debian: chromium)")

PAGE = """<body><script>
const pod = "%(pod)s";
const image = Uint8Array.from(atob("%(image)s"), letter => letter.charCodeAt(0));
async function ask() {
  const raw = await fetch(pod + "/v1/models/colours:predict", {
    method: "POST", body: image, headers: {"Content-Type": "image/jpeg", "X-Request-Id": "page"}});
  const tensor = {name: "image", datatype: "BYTES", shape: [1], data: ["%(image)s"]};
  const json = await fetch(pod + "/v2/models/colours/infer", {
    method: "POST", body: JSON.stringify({inputs: [tensor], outputs: [{name: "labels"}]})});
  const refused = await fetch(pod + "/v2/models/nobody");
  return {
    label: (await raw.json()).predictions[0].label,
    id: raw.headers.get("x-request-id"),
    best: (await json.json()).outputs[0].data[0],
    refused: [refused.status, (await refused.json()).error],
  };
}
ask().then(JSON.stringify, error => JSON.stringify({failed: error.name}))
  .then(text => document.body.textContent = "<<" + text + ">>");
</script></body>"""


class Site:
    """A web site of its own origin with one page."""

    def __init__(self) -> None:
        self.page = ""
        site = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = site.page.encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.origin = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Take it off the net."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    """A site that pages are served from."""
    running = Site()
    yield running
    running.close()


def shown(site: Site, pod, profile) -> dict[str, object]:
    """What the page found out, as the browser shows it."""
    image = base64.b64encode(colour_image("green")).decode()
    site.page = PAGE % {"pod": pod.url, "image": image}
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    # Virtual time stands still while the page waits for an answer, and then runs to its end.
    command = [*quiet, f"--user-data-dir={profile}", "--virtual-time-budget=10000", "--dump-dom"]
    ran = subprocess.run(
        [str(CHROMIUM), *command, site.origin],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found = re.search("&lt;&lt;(.*)&gt;&gt;", ran.stdout)
    assert found, ran.stdout + ran.stderr
    answer: dict[str, object] = json.loads(found[1])
    return answer


def test_a_page_of_a_named_origin_is_answered(start, colours, site, tmp_path):
    """A preflight passes, answers and errors can be read, and so can the request's id."""
    pod = start(colours, "--cors-origins", site.origin)

    assert shown(site, pod, tmp_path) == {
        "label": "green",
        "id": "page",
        "best": "green",
        "refused": [404, "no model 'nobody' here"],
    }


def test_a_page_of_another_origin_is_kept_out_by_its_browser(pod, site, tmp_path):
    """As long as no setting names it."""
    assert shown(site, pod, tmp_path) == {"failed": "TypeError"}
