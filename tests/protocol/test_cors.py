"""Web pages of other origins: refused by their browser unless the pod names them."""

from __future__ import annotations

import http.client
from collections.abc import Iterator

import pytest

from predictor.protocol.cors import Cors
from tests.protocol.server import Served, served

PAGE = "https://console.example"
PREFLIGHT = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}


@pytest.fixture(scope="module")
def named() -> Iterator[Served]:
    """A pod that names two origins."""
    with served(cors=Cors.parse(f"{PAGE}/, http://localhost:3000")) as server:
        yield server


@pytest.fixture(scope="module")
def open_() -> Iterator[Served]:
    """A pod for every page."""
    with served(cors=Cors.parse("*")) as server:
        yield server


@pytest.fixture(scope="module")
def closed() -> Iterator[Served]:
    """A pod for no page."""
    with served(cors=Cors.parse("")) as server:
        yield server


def ask(server: Served, method: str, path: str, **headers: str) -> http.client.HTTPResponse:
    """One request on a connection of its own."""
    client = server.client()
    lines = {name.replace("_", "-"): value for name, value in headers.items()}
    client.request(method, path, b"x" * 1000 if method == "POST" else None, lines)
    answer = client.getresponse()
    answer.read()
    client.close()
    return answer


def cors_headers(answer: http.client.HTTPResponse) -> dict[str, str]:
    """All that a browser looks at, and what a cache does."""
    return {
        name: value
        for name, value in answer.getheaders()
        if name.startswith("access-control-") or name == "vary"
    }


@pytest.mark.parametrize("setting", ["", " ", ",", "/"])
def test_no_origin_named_means_off(setting):
    """As by default."""
    assert Cors.parse(setting) is None


def test_a_star_among_origins_means_all():
    """It cannot be narrowed by naming others."""
    assert Cors.parse("https://a.example, *") == Cors(None)


def test_off_says_nothing(closed):
    """Whoever asks, for whatever; OPTIONS has Allow as ever."""
    preflight = ask(closed, "OPTIONS", "/echo", **PREFLIGHT)

    assert cors_headers(ask(closed, "GET", "/health", Origin=PAGE)) == {}
    assert cors_headers(preflight) == {}
    assert (preflight.status, preflight.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")


def test_a_preflight_says_what_is_allowed(named):
    """204 with methods, headers and how long that holds."""
    asked = {**PREFLIGHT, "Access-Control-Request-Headers": "content-type, x-request-id"}

    answer = ask(named, "OPTIONS", "/echo", **asked)

    expected = {
        "access-control-allow-origin": PAGE,
        "access-control-allow-methods": "GET, HEAD, OPTIONS, POST",
        "access-control-allow-headers": "content-type, x-request-id",
        "access-control-max-age": "600",
        "vary": "origin",
    }
    assert answer.status == 204
    assert expected == cors_headers(answer)


def test_headers_that_are_none_are_not_allowed(named):
    """They are sent back, so they must be harmless."""
    answer = ask(
        named, "OPTIONS", "/echo", **PREFLIGHT, Access_Control_Request_Headers='x"<script>'
    )

    assert "access-control-allow-headers" not in answer.headers
    assert answer.headers["access-control-allow-origin"] == PAGE


def test_an_answer_may_be_read_by_the_page(named):
    """With the headers that its script may see."""
    answer = ask(named, "GET", "/health", Origin=PAGE)

    expected = {
        "access-control-allow-origin": PAGE,
        "access-control-expose-headers": "x-request-id, inference-header-content-length",
        "vary": "origin",
    }
    assert expected == cors_headers(answer)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("DELETE", "/echo", 405), ("POST", "/broken", 500)],
)
def test_errors_may_be_read_too(named, method, path, status):
    """Else the page would see a network error and nobody would know why."""
    answer = ask(named, method, path, Origin=PAGE)

    assert answer.status == status
    assert answer.headers["access-control-allow-origin"] == PAGE


@pytest.mark.parametrize(
    "origin", ["https://elsewhere.example", "null", f"{PAGE}.evil.example", "", PAGE + ":8443"]
)
def test_other_origins_get_no_permission(named, origin):
    """The plain answer: their browser keeps it from them."""
    answer = ask(named, "GET", "/health", Origin=origin)
    preflight = ask(named, "OPTIONS", "/echo", **{**PREFLIGHT, "Origin": origin})

    assert (answer.status, preflight.status) == (200, 204)
    assert cors_headers(answer) == cors_headers(preflight) == {"vary": "origin"}


def test_every_page_may_call_an_open_pod(open_):
    """The answer is the same for all, so a cache need not tell them apart."""
    answer = ask(open_, "GET", "/health", Origin="null")

    assert answer.headers["access-control-allow-origin"] == "*"
    assert "vary" not in answer.headers


def test_what_an_answer_varies_by_stands_in_one_header(named):
    """Beside the content coding."""
    answer = ask(named, "POST", "/echo", Origin=PAGE, Accept_Encoding="gzip")

    assert answer.headers.get_all("vary") == ["accept-encoding, origin"]


def test_without_an_origin_there_is_nothing_to_allow(named):
    """Only the hint for caches, which may be asked by a page next."""
    assert cors_headers(ask(named, "GET", "/health")) == {"vary": "origin"}
    assert cors_headers(ask(named, "OPTIONS", "/echo")) == {"vary": "origin"}
