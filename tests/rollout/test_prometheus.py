"""Counts by version out of a real Prometheus that scrapes real pods; what is said without them."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from urllib.parse import parse_qs

import httpx
import pytest

from model_store.package import ModelPackage
from rollout.errors import ForbiddenError, RolloutError, UnreachableError
from rollout.prometheus import STALE_S, PrometheusMeter
from rollout.types import Traffic
from tests.conftest import as_version, colour_image
from tests.end_to_end.conftest import TOKEN, Pod
from tests.rollout.prometheus_server import PrometheusServer
from tests.rollout.web import Web

MODEL = "/v2/models/colours"
QUERY = "/api/v1/query"
RAW = {"Inference-Header-Content-Length": "0"}
RED = colour_image("red")


@pytest.fixture(scope="module")
def pods(colours: ModelPackage, tmp_path_factory) -> Iterator[list[Pod]]:
    """Two pods of one model; each has versions 1 and 2, and shares requests out evenly."""
    store = tmp_path_factory.mktemp("store")
    first, _ = as_version(colours, 1, store), as_version(colours, 2, store)
    with contextlib.ExitStack() as running:
        found = []
        for _ in range(2):
            pod = Pod(first.path, "--repository-token", TOKEN, "--drain-delay-s", "0")
            running.callback(pod.close)
            httpx.post(
                f"{pod.url}/v2/repository/models/colours/load",
                headers={"Authorization": f"Bearer {TOKEN}"},
                json={"parameters": {"version": "2", "traffic": 50}},
                timeout=60,
            ).raise_for_status()
            found.append(pod)
        yield found


@pytest.fixture(scope="module")
def prometheus(pods: list[Pod], tmp_path_factory) -> Iterator[PrometheusServer]:
    """It scrapes both, as pods of a namespace."""
    addresses = {f"p{number}": pod.http for number, pod in enumerate(pods)}
    server = PrometheusServer(tmp_path_factory.mktemp("prometheus"), addresses)
    yield server
    server.close()


@pytest.fixture
def web() -> Iterator[Web]:
    """Something that answers as it is told to."""
    with contextlib.closing(Web()) as answering:
        yield answering


@pytest.fixture
def meter_of() -> Iterator[Callable[..., PrometheusMeter]]:
    """Meters of the model, closed when the test ends."""
    with contextlib.ExitStack() as meters:

        def make(url: str, model: str = "colours", *more: object, **named: object):
            meter = PrometheusMeter(url, model, *more, **named)
            meters.callback(meter.close)
            return meter

        yield make


def scraped(meter: PrometheusMeter, version: str, since: float) -> Traffic:
    """What is known, once anything is."""
    while True:
        with contextlib.suppress(UnreachableError):
            return meter.traffic(version, since)


def begun(prometheus: PrometheusServer) -> float:
    """A moment after which each of its jobs has looked at every pod."""
    since = time.time()
    while not prometheus.has_looked_since(since):
        pass
    return since


def ask(pod: Pod, count: int, path: str = MODEL, body: bytes = RED) -> None:
    """Requests that are answered, well or not."""
    headers = RAW if body is RED else {"Content-Type": "application/json"}
    for _ in range(count):
        httpx.post(f"{pod.url}{path}/infer", content=body, headers=headers)


def test_requests_are_counted_to_the_last_one(prometheus, pods, meter_of):
    """Of all pods, by version; not what Prometheus reckons may have been between its samples.

    Of its two jobs one reads no buckets, and neither is added to the other.
    """
    meter = meter_of(prometheus.url, namespace="shop")
    ask(pods[0], 10)  # with other shares, say
    since = begun(prometheus)

    ask(pods[0], 20)
    ask(pods[1], 10)
    ask(pods[1], 3, f"{MODEL}/versions/2", b"{")

    while (found := meter.traffic("2", since)).requests < 18 or sum(found.counts) < 15:
        pass
    assert (found.requests, found.errors, found.rejected) == (18, 0, 0)
    assert sum(found.counts) == 15
    assert found.edges_s[-1] == float("inf")
    assert meter.traffic("1", since).requests == 15


def test_who_goes_on_later_finds_what_was_counted_meanwhile(prometheus, pods, meter_of):
    """A rollout that was killed: its counts are Prometheus' and not its own."""
    since = begun(prometheus)

    ask(pods[0], 8, f"{MODEL}/versions/1")

    while (found := scraped(meter_of(prometheus.url), "1", since)).requests < 8:
        pass
    assert found.requests == 8


def test_a_version_that_nobody_scrapes_is_not_one_without_requests(prometheus, pods, meter_of):
    """What there is instead is said."""
    meter = meter_of(prometheus.url, namespace="shop")
    begun(prometheus)

    with pytest.raises(UnreachableError) as problem:
        meter.traffic("9", time.time())

    assert str(problem.value) == (
        f"{prometheus.url}: has nothing of version 9 of colours in namespace shop "
        "(there is version 1, 2); are its pods scraped?"
    )
    with pytest.raises(UnreachableError, match="nor of any other"):
        meter_of(prometheus.url, "colours", "elsewhere").traffic("1", time.time())


def test_a_version_that_is_scraped_no_more_is_told_of(prometheus, pods, meter_of):
    """Its last counts say nothing of now."""
    begun(prometheus)
    later = meter_of(prometheus.url, clock=lambda: time.time() + 2 * STALE_S)

    with pytest.raises(
        UnreachableError, match=r"has nothing of version 1 of colours since 3\d\d s"
    ):
        later.traffic("1", time.time())


def test_a_question_that_it_refuses_is_told_with_its_words(prometheus, meter_of):
    """A real 400."""
    meter = meter_of(f"{prometheus.url}")

    with pytest.raises(RolloutError, match=r"400: .*parse error"):
        meter._ask("sum(")


def test_the_token_is_read_anew_from_its_file(web, meter_of, tmp_path):
    """Tokens of service accounts are renewed; and the file is named where it is not there."""
    token = tmp_path / "token"
    token.write_text("one\n", encoding="utf-8")
    web.says(QUERY, json.dumps({"status": "success", "data": {"result": []}}), 200, JSON)
    meter = meter_of(web.url, token_file=token)

    for text in ("one", "two"):
        token.write_text(f"{text}\n", encoding="utf-8")
        with pytest.raises(UnreachableError, match="are its pods scraped"):
            meter.traffic("1", 0.0)
        assert web.asked[-1].headers["authorization"] == f"Bearer {text}"
    token.unlink()
    with pytest.raises(RolloutError, match="token: the token cannot be read"):
        meter.traffic("1", 0.0)


def test_the_question_names_model_and_namespace_whatever_they_contain(web, meter_of):
    """Quoted as Prometheus has it."""
    web.says(QUERY, json.dumps({"status": "success", "data": {"result": []}}), 200, JSON)

    with pytest.raises(UnreachableError):
        meter_of(web.url, 'a"b', "shop", clock=lambda: 1000.0).traffic("1", 400.0)

    query = parse_qs(web.asked[0].body.decode())["query"][0]
    assert query == (
        '{__name__=~"millrace_requests_total|millrace_request_seconds_bucket",'
        'model="a\\"b",namespace="shop"}[605s]'
    )


JSON = "application/json"


@pytest.mark.parametrize(
    ("status", "kind", "text", "error", "told"),
    [
        (401, "text/plain", "no", ForbiddenError, "401: no; give a file with a token"),
        (403, JSON, '{"error": "tenant"}', ForbiddenError, "403: tenant; give a file"),
        (503, JSON, '{"status": "error", "error": "starting"}', UnreachableError, "503: starting"),
        (429, "text/html", "<h1>slow down</h1>", UnreachableError, "429: <h1>slow down</h1>"),
        (422, JSON, '{"status": "error", "error": "too many"}', RolloutError, "422: too many"),
        (200, "text/html", "<html>Grafana</html>", RolloutError, "Prometheus' HTTP API"),
        (404, "text/plain", "", RolloutError, "404: Not Found; is it the address"),
        (200, JSON, "{", RolloutError, "Prometheus' HTTP API"),
        (200, JSON, '{"status": "success", "data": {"result": {}}}', RolloutError, "no Prometheus"),
    ],
)
def test_what_is_no_answer_is_told_in_a_line(web, meter_of, status, kind, text, error, told):
    """With the address, what was said there, and what to do where that is known."""
    web.says(QUERY, text, status, kind)

    with pytest.raises(RolloutError) as problem:
        meter_of(web.url).traffic("1", 0.0)

    assert type(problem.value) is error
    assert str(problem.value).startswith(web.url)
    assert told in str(problem.value)
    assert "\n" not in str(problem.value)


def test_an_address_that_is_none_and_one_where_nobody_is(meter_of):
    """At once, and when it is asked."""
    with pytest.raises(RolloutError, match="http://HOST:PORT"):
        meter_of("prometheus:9090")
    with pytest.raises(UnreachableError, match="Prometheus cannot be asked"):
        meter_of("http://127.0.0.1:9").traffic("1", 0.0)


def test_a_name_and_password_in_its_address_are_used_and_told_to_nobody(web, meter_of):
    """What it says is kept in the state, and in the registry."""
    secretive = web.url.replace("//", "//bob:s3cret@")
    web.says(QUERY, json.dumps({"status": "success", "data": {"result": []}}), 200, JSON)

    with pytest.raises(UnreachableError, match="are its pods scraped") as silent:
        meter_of(secretive).traffic("1", 0.0)
    web.says(QUERY, "no", 503)
    with pytest.raises(UnreachableError, match="503") as refused:
        meter_of(secretive).traffic("1", 0.0)
    with pytest.raises(UnreachableError, match="cannot be asked") as away:
        meter_of("http://bob:s3cret@127.0.0.1:9").traffic("1", 0.0)
    with pytest.raises(RolloutError, match="http://HOST:PORT") as wrong:
        meter_of("bob:s3cret@prometheus:9090")

    assert web.asked[0].headers["authorization"].startswith("Basic ")
    assert not any("s3cret" in str(each.value) for each in (silent, refused, away, wrong))


def test_a_pod_that_two_jobs_scrape_is_counted_once(web, meter_of):
    """On a cluster a pod is told by its name, whoever looked at it."""

    def series(job: str, *values: tuple[float, str]) -> object:
        labels = {"namespace": "shop", "pod": "p", "job": job, "version": "1", "code": "200"}
        name = {"__name__": "millrace_requests_total", "protocol": "v2"}
        return {"metric": {**name, **labels}, "values": values}

    result = [
        series("one", (1.0, "7000"), (3.0, "7020"), (5.0, "7040")),
        series("two", (2.0, "6999"), (4.0, "7030")),
    ]
    web.says(QUERY, json.dumps({"status": "success", "data": {"result": result}}), 200, JSON)

    assert meter_of(web.url, clock=lambda: 5.0).traffic("1", 0.5).requests == 40
