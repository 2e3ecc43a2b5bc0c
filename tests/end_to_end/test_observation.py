"""A request can be found again: in its answer, in the log, in a trace."""

from __future__ import annotations

import subprocess
import sys

import grpc
import httpx
import pytest

from predictor.protocol.messages import SERVICE, message
from tests.conftest import colour_image
from tests.end_to_end.conftest import START_S

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")

from tests.collector import running_collector

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{CALLER}-01"
STAGES = ["receive", "decode", "queue", "infer", "collect", "respond"]

collector = pytest.fixture(running_collector)


def ask_by_grpc(pod, **metadata: str) -> grpc.Call:
    """One image over gRPC; the call that was answered."""
    request = message("ModelInferRequest")(model_name="colours")
    tensor = request.inputs.add(name="image", datatype="BYTES", shape=[1])
    tensor.contents.bytes_contents.append(colour_image("red"))
    with grpc.insecure_channel(pod.grpc) as channel:
        infer = channel.unary_unary(
            f"/{SERVICE}/ModelInfer",
            request_serializer=message("ModelInferRequest").SerializeToString,
            response_deserializer=message("ModelInferResponse").FromString,
        )
        return infer.with_call(request, metadata=tuple(metadata.items()))[1]


def test_requests_are_spans_of_their_callers_trace(start, colours, collector):
    """Over HTTP and gRPC: a server span under the caller's, and its stages in order within it."""
    pod = start(colours, "--otlp-endpoint", collector.url, "--drain-delay-s", "0")

    httpx.post(
        f"{pod.url}/v1/models/colours:predict",
        content=colour_image("red"),
        headers={"Content-Type": "image/jpeg", "traceparent": TRACEPARENT},
    ).raise_for_status()
    ask_by_grpc(pod, traceparent=TRACEPARENT)
    pod.stop()  # what is queued is sent before it ends

    requests = collector.requests()
    assert {"POST /v1/models/colours:predict", f"{SERVICE}/ModelInfer"} == {
        span.name for span in requests
    }
    for request in requests:
        assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, CALLER)
        parts = sorted(
            collector.parts(request).values(), key=lambda span: span.start_time_unix_nano
        )
        assert [span.name for span in parts] == STAGES
        assert all(
            request.start_time_unix_nano <= part.start_time_unix_nano
            and part.end_time_unix_nano <= request.end_time_unix_nano
            for part in parts
        )
        ends = [span.end_time_unix_nano for span in parts]
        assert ends == sorted(ends)


def test_an_absent_collector_costs_no_request(start, colours):
    """And the pod ends as it should."""
    pod = start(colours, "--otlp-endpoint", "http://127.0.0.1:9", "--drain-delay-s", "0")

    answer = httpx.get(f"{pod.url}/v2/health/ready")

    assert answer.status_code == 200
    assert ask_by_grpc(pod).code() is grpc.StatusCode.OK
    assert pod.stop() == 0


def test_a_collector_that_is_no_url_is_told_at_the_start(colours):
    """One line that names the setting, exit code 2."""
    command = [
        sys.executable,
        "-m",
        "millrace",
        "serve",
        colours.path,
        "--otlp-endpoint",
        "nowhere",
    ]
    ports = ["--http-port", "0", "--grpc-port", "0"]

    ran = subprocess.run(
        [*command, *ports], capture_output=True, text=True, check=False, timeout=START_S
    )

    assert ran.returncode == 2
    assert ran.stderr.splitlines()[-1].startswith("millrace: setting otlp_endpoint = 'nowhere'")


def test_a_refused_request_is_in_the_log_by_its_id(start, colours):
    """What the client was told, under the id that it gave; a good one is not."""
    pod = start(colours, "--drain-delay-s", "0")
    url = f"{pod.url}/v2/models/colours/infer"

    refused = httpx.post(url, content=b"{}", headers={"x-request-id": "find-me"})
    httpx.put(
        f"{pod.url}/v1/models/colours:predict",
        content=colour_image("red"),
        headers={"x-request-id": "all-is-well"},
    ).raise_for_status()
    pod.stop()
    pod.close()

    lines = [line for line in pod.log if "find-me" in line]
    assert refused.headers["x-request-id"] == "find-me"
    assert len(lines) == 1
    assert "POST /v2/models/colours/infer 400" in lines[0]
    assert refused.json()["error"] in lines[0]
    assert not any("all-is-well" in line for line in pod.log)


def test_an_id_comes_back_over_grpc_as_well(pod):
    """In the trailing metadata."""
    trailing = dict(ask_by_grpc(pod, **{"x-request-id": "seven"}).trailing_metadata())

    assert trailing["x-request-id"] == "seven"
