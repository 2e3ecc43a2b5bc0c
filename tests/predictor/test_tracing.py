"""Traces as a collector gets them, from a receiver that speaks OTLP over HTTP."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time

import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")

from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from predictor import trace_delivery, tracing
from predictor.errors import StartupError
from predictor.observation import ImageTimes, Observation
from predictor.tracing import Tracer, stages, traces_url
from tests.collector import Collector, running_collector

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"


collector = pytest.fixture(running_collector)


@pytest.fixture(autouse=True)
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans leave at once and straight, and the surroundings' OTEL_* say nothing."""
    monkeypatch.setattr(tracing, "BATCH_DELAY_MS", 1)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


def answered(
    protocol: str = "v2",
    operation: str = "POST /v2/models/digits/infer",
    traceparent: str = "",
    code: str = "200",
    error: str = "",
    last: ImageTimes | None = None,
) -> Observation:
    """A request of a millisecond that ended now; with ``last``, its image's times fit within."""
    began = time.monotonic_ns() - 1_000_000
    return Observation(
        protocol,
        operation,
        "feed",
        traceparent,
        code,
        error,
        "7",
        images=2,
        began_ns=began,
        read_ns=began + 50_000,
        parsed_ns=began + 100_000,
        classified_ns=began + 900_000,
        ended_ns=began + 1_000_000,
        last=last or image(began),
    )


def image(began: int) -> ImageTimes:
    """An image that came all the way."""
    return ImageTimes(*(began + tenth * 100_000 for tenth in (1, 2, 3, 5, 6, 7)))


def attributes(span: Span) -> dict[str, str | int]:
    """What a span says of itself."""
    return {item.key: item.value.string_value or item.value.int_value for item in span.attributes}


def sent(collector: Collector, observation: Observation) -> Span:
    """The request's own span, as the collector got it."""
    tracer = Tracer(collector.url, "digits", 0)
    tracer.record(observation)
    tracer.close()
    (span,) = collector.requests()
    return span


def test_a_request_arrives_as_one_server_span_that_says_what_happened(collector: Collector):
    """Name and attributes as OpenTelemetry's conventions for HTTP have them, and our own."""
    span = sent(collector, answered())

    assert span.name == "POST /v2/models/digits/infer"
    assert attributes(span) == {
        "millrace.model": "digits",
        "millrace.version": "7",
        "millrace.request_id": "feed",
        "millrace.protocol": "v2",
        "millrace.images": 2,
        "http.request.method": "POST",
        "url.path": "/v2/models/digits/infer",
        "http.response.status_code": 200,
    }
    assert span.status.code == Status.STATUS_CODE_UNSET
    assert span.parent_span_id == b""
    assert collector.paths == ["/v1/traces"]


def test_a_grpc_request_is_named_by_its_method(collector: Collector):
    """As the conventions for RPC have it, without the slash that HTTP/2 puts before it."""
    operation = "/inference.GRPCInferenceService/ModelInfer"

    span = sent(collector, answered("grpc", operation, code="OK"))

    found = attributes(span)
    assert span.name == "inference.GRPCInferenceService/ModelInfer"
    assert found["rpc.system.name"] == "grpc"
    assert found["rpc.method"] == "inference.GRPCInferenceService/ModelInfer"
    assert found["rpc.response.status_code"] == "OK"
    assert "http.request.method" not in found


def test_stages_are_children_within_their_request_and_one_after_another(collector: Collector):
    """All of one trace, in the order of the path, none beginning before the one before it ended."""
    span = sent(collector, answered())

    parts = sorted(collector.parts(span).values(), key=lambda part: part.start_time_unix_nano)
    times = [
        time for part in parts for time in (part.start_time_unix_nano, part.end_time_unix_nano)
    ]
    assert [part.name for part in parts] == [
        "receive",
        "decode",
        "queue",
        "infer",
        "collect",
        "respond",
    ]
    assert {part.trace_id for part in parts} == {span.trace_id}
    assert times == sorted(times)
    assert span.start_time_unix_nano == times[0]
    assert span.end_time_unix_nano == times[-1]


def test_spans_carry_the_time_of_day(collector: Collector):
    """Monotonic times are moved to the epoch without being stretched."""
    before = time.time_ns()
    span = sent(collector, answered())

    an_hour = 3600 * 10**9  # whatever somebody does to this machine's clock meanwhile
    assert abs(span.end_time_unix_nano - before) < an_hour
    assert span.end_time_unix_nano - span.start_time_unix_nano == 1_000_000
    assert {
        name: part.end_time_unix_nano - part.start_time_unix_nano
        for name, part in collector.parts(span).items()
    } == {
        "receive": 100_000,
        "decode": 100_000,
        "queue": 200_000,  # from decoded, the hand-over included
        "infer": 100_000,
        "collect": 100_000,
        "respond": 100_000,
    }


def test_a_stage_that_was_not_reached_has_no_span():
    """A refused request was received and answered, and nothing between."""
    refused = Observation("v2", "POST /", "feed", began_ns=1, parsed_ns=2, ended_ns=9)
    nobody_answered = Observation(
        "v2", "POST /", "feed", began_ns=1, parsed_ns=2, classified_ns=8, ended_ns=9
    )
    unreadable = Observation("v2", "POST /", "feed", began_ns=1, ended_ns=9)

    assert [stage.name for stage in stages(refused)] == ["receive"]
    assert [stage.name for stage in stages(nobody_answered)] == ["receive", "respond"]
    assert stages(unreadable) == []


def test_a_request_continues_its_clients_trace(collector: Collector):
    """W3C's traceparent gives the trace and the parent."""
    span = sent(collector, answered(traceparent=f"00-{TRACE}-{CALLER}-01"))

    assert span.trace_id.hex() == TRACE
    assert span.parent_span_id.hex() == CALLER


@pytest.mark.parametrize(
    "traceparent",
    [
        "junk",
        f"00-{TRACE}-{CALLER}",
        f"00-{TRACE.upper()}-{CALLER}-01",
        f"00-{'0' * 32}-{CALLER}-01",
        f"00-{TRACE}-{CALLER}-01-more",
        f"00-{TRACE}-{CALLER}-01" + "x" * 1000,
        "\udcff",
    ],
)
def test_a_malformed_traceparent_starts_a_trace_of_its_own(collector: Collector, traceparent: str):
    """It is ignored, as the standard says, and not logged."""
    span = sent(collector, answered(traceparent=traceparent))

    assert span.trace_id.hex() != TRACE
    assert span.parent_span_id == b""


def test_what_the_client_does_not_sample_is_not_traced(collector: Collector):
    """The sampled flag of its traceparent decides for the whole trace."""
    tracer = Tracer(collector.url, "digits", 0)
    tracer.record(answered(traceparent=f"00-{TRACE}-{CALLER}-00"))
    tracer.record(answered(traceparent=f"00-{TRACE[::-1]}-{CALLER}-01"))
    tracer.close()

    assert [span.trace_id.hex() for span in collector.requests()] == [TRACE[::-1]]


def test_the_environment_can_sample_fewer(collector: Collector, monkeypatch: pytest.MonkeyPatch):
    """The SDK's own variable, for pods too busy to trace every request."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    tracer = Tracer(collector.url, "digits", 0)
    tracer.record(answered())
    tracer.record(answered(traceparent=f"00-{TRACE}-{CALLER}-01"))
    tracer.close()

    assert [span.trace_id.hex() for span in collector.requests()] == [TRACE]


@pytest.mark.parametrize(("protocol", "code"), [("v2", "500"), ("v1", "503"), ("grpc", "INTERNAL")])
def test_the_servers_faults_are_errors(collector: Collector, protocol: str, code: str):
    """With the text that the client got."""
    span = sent(collector, answered(protocol, code=code, error="the runtime failed"))

    assert span.status.code == Status.STATUS_CODE_ERROR
    assert span.status.message == "the runtime failed"
    assert attributes(span)["error.type"] == code


@pytest.mark.parametrize(
    ("protocol", "code"), [("v2", "400"), ("grpc", "INVALID_ARGUMENT"), ("grpc", "CANCELLED")]
)
def test_the_clients_faults_are_not_errors(collector: Collector, protocol: str, code: str):
    """As the conventions say for servers."""
    span = sent(collector, answered(protocol, code=code, error="image 1: not an image"))

    assert span.status.code == Status.STATUS_CODE_UNSET
    assert "error.type" not in attributes(span)


def test_text_that_is_no_text_costs_no_trace(collector: Collector):
    """A lone surrogate cannot be encoded, and a long path is cut."""
    odd = answered(operation="POST /v2/\udcff" + "x" * 1000, code="500", error="\ud800")

    span = sent(collector, odd)

    assert span.name.startswith("POST /v2/?xx")
    assert len(span.name) == tracing.LONGEST_TEXT
    assert span.status.message == "?"


def test_the_service_has_a_name_that_the_environment_may_change(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
):
    """By default each frontend is an instance of the service millrace."""
    sent(collector, answered())
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    tracer = Tracer(collector.url, "digits", 3)
    tracer.record(answered())
    tracer.close()

    first, second = collector.resources[0], collector.resources[-1]
    assert first["service.name"] == "millrace"
    assert first["service.instance.id"] == f"{socket.gethostname()}-0"
    assert second["service.name"] == "shop"
    assert second["service.instance.id"] == f"{socket.gethostname()}-3"


def test_an_absent_collector_costs_one_line_and_no_waiting(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    """Nothing listens: far more is recorded than the queue holds, and the stop is bounded."""
    monkeypatch.setattr(tracing, "FLUSH_S", 0.01)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # and does not listen
        tracer = Tracer(f"http://127.0.0.1:{silent.getsockname()[1]}", "digits", 0)
        for _ in range(2 * tracing.QUEUED_SPANS // 7):
            tracer.record(answered())
        tracer.close()
        tracer.record(answered())

    assert [record.name for record in caplog.records] == ["predictor.trace_delivery"]
    assert "the last traces did not reach http://127.0.0.1:" in caplog.text


def test_a_collector_that_refuses_is_logged_once(
    collector: Collector, caplog: pytest.LogCaptureFixture
):
    """One line for the outage, however many batches it costs."""
    collector.status = 404
    tracer = Tracer(collector.url, "digits", 0)
    for _ in range(3):
        tracer.record(answered())
        assert collector.asked.acquire(timeout=30)
    tracer.close()

    (line,) = caplog.messages
    assert line.startswith(f"traces do not reach {collector.url}/v1/traces: ")
    assert "404" in line


def test_a_collector_that_is_back_is_logged_with_what_it_missed(
    collector: Collector, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    """So that nobody looks for traces that are not there."""
    monkeypatch.setattr(trace_delivery, "SAY_AGAIN_S", 0.0)
    collector.status = 404
    tracer = Tracer(collector.url, "digits", 0)
    tracer.record(answered())
    assert collector.asked.acquire(timeout=30)
    collector.status = 200
    tracer.record(answered())
    tracer.close()

    assert len(caplog.messages) == 2
    assert "but 1 requests have none" in caplog.messages[1]
    assert len(collector.requests()) == 1


def test_a_collector_that_comes_and_goes_is_logged_now_and_then(
    collector: Collector, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    """A second outage within a minute is not told at once, but it is told when it lasts."""
    tracer = Tracer(collector.url, "digits", 0)
    for status in (404, 200, 404, 200, 404):
        collector.status = status
        tracer.record(answered())
        assert collector.asked.acquire(timeout=30)
    told = len(caplog.messages)
    monkeypatch.setattr(trace_delivery, "SAY_AGAIN_S", 0.0)
    tracer.record(answered())
    tracer.close()

    assert told == 1
    assert len(caplog.messages) == 2
    assert caplog.messages[1].startswith("traces do not reach")


def test_a_full_queue_leaves_out_whole_requests(
    collector: Collector, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    """No trace arrives in pieces."""
    monkeypatch.setattr(tracing, "QUEUED_SPANS", 20)
    monkeypatch.setattr(tracing, "BATCH_SPANS", 20)
    monkeypatch.setattr(tracing, "BATCH_DELAY_MS", 60_000)  # the queue is full before it is read
    tracer = Tracer(collector.url, "digits", 0)
    for _ in range(5):
        tracer.record(answered())
    tracer.close()

    assert len(collector.requests()) == 2
    assert [len(collector.parts(span)) for span in collector.requests()] == [6, 6]
    assert "but 3 requests have none" in caplog.text


def test_opentelemetrys_own_lines_are_let_through_again_after_a_tracer(collector: Collector):
    """A tracer leaves nothing behind."""
    name = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
    tracer = Tracer(collector.url, "digits", 0)
    during = len(logging.getLogger(name).filters)
    tracer.close()

    assert during == 1
    assert logging.getLogger(name).filters == []


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://collector:4318",
        "http://collector:4318/",
        "http://collector:4318/v1/traces",
        "http://collector:4318/v1/traces/",
    ],
)
def test_the_path_of_traces_is_added_where_it_is_missing(endpoint: str):
    """As operators write endpoints either way."""
    assert traces_url(endpoint) == "http://collector:4318/v1/traces"


def test_an_endpoint_without_a_scheme_is_refused_at_the_start():
    """OpenTelemetry would only fail at every batch."""
    with pytest.raises(StartupError, match="otlp_endpoint = 'collector:4318': takes a URL"):
        Tracer("collector:4318", "digits", 0)


WITHOUT_OPENTELEMETRY = """
import sys
import predictor.tracing
assert not any(name.startswith("opentelemetry") for name in sys.modules), "imported too early"
sys.modules["opentelemetry"] = None  # as if it were not installed
from predictor.errors import StartupError
try:
    predictor.tracing.Tracer("http://collector:4318", "digits", 0)
except StartupError as error:
    print(error)
"""


def test_missing_packages_are_named_with_what_to_install():
    """In a process of its own, since this one has them."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_OPENTELEMETRY], capture_output=True, text=True, check=True
    )

    assert done.stdout.startswith("otlp_endpoint is set, but OpenTelemetry is not there")
    assert "install millrace[tracing]" in done.stdout
