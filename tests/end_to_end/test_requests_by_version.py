"""What the metrics say of requests, by the version that took them or was asked to."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import grpc
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from model_store.package import ModelPackage
from predictor.protocol.messages import SERVICE, message
from tests.conftest import as_version, colour_image
from tests.end_to_end.conftest import TOKEN, Pod

SHOWN = {"Authorization": f"Bearer {TOKEN}"}
MODEL = "/v2/models/colours"
REPOSITORY = "/v2/repository/models/colours"
RAW = {"Inference-Header-Content-Length": "0"}
RED = colour_image("red")
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def pod(start, colours: ModelPackage, tmp_path: Path) -> Pod:
    """Version 2 has a fifth of the requests of version 1's pod."""
    first, _ = as_version(colours, 1, tmp_path), as_version(colours, 2, tmp_path)
    pod = start(first, "--repository-token", TOKEN)
    body = {"parameters": {"version": "2", "traffic": 20}}
    httpx.post(f"{pod.url}{REPOSITORY}/load", headers=SHOWN, json=body, timeout=60)
    return pod


def counted(pod: Pod, name: str, *labels: str) -> Counter[tuple[str, ...]]:
    """What is not zero of a metric, by these labels."""
    found: Counter[tuple[str, ...]] = Counter()
    text = httpx.get(f"{pod.url}/metrics").text
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and sample.value:
                found[tuple(sample.labels[label] for label in labels)] += sample.value
    return found


def requests(pod: Pod) -> Counter[tuple[str, ...]]:
    """By version, protocol and code."""
    return counted(pod, "millrace_requests_total", "version", "protocol", "code")


def infer(pod: Pod, model: str = "colours", version: str = "", image: bytes = RED) -> None:
    """One gRPC request; raises what comes of it."""
    request = message("ModelInferRequest")(model_name=model, model_version=version)
    request.inputs.add(name="image", datatype="BYTES", shape=[1]).contents.bytes_contents.append(
        image
    )
    with grpc.insecure_channel(pod.grpc) as channel:
        channel.unary_unary(
            f"/{SERVICE}/ModelInfer",
            request_serializer=message("ModelInferRequest").SerializeToString,
            response_deserializer=message("ModelInferResponse").FromString,
        )(request, timeout=60)


def test_requests_count_for_the_version_that_took_them(pod):
    """Over REST and gRPC, as they are shared out."""
    for _ in range(10):
        httpx.post(f"{pod.url}{MODEL}/infer", content=RED, headers=RAW).raise_for_status()
    for _ in range(10):
        infer(pod)
    for version in ("1", "2"):
        infer(pod, version=version)

    assert requests(pod) == {
        ("1", "v2", "200"): 8,
        ("2", "v2", "200"): 2,
        ("1", "grpc", "OK"): 9,
        ("2", "grpc", "OK"): 3,
    }


def test_what_is_refused_before_it_is_taken_counts_for_whom_it_names_or_by_the_shares(pod):
    """A version with few requests is not seen better than it is, nor with fewer than it has."""
    for _ in range(10):
        httpx.post(f"{pod.url}{MODEL}/infer", content=b"{", headers=JSON)
    httpx.post(f"{pod.url}{MODEL}/versions/2/infer", content=b"{", headers=JSON)
    with pytest.raises(grpc.RpcError):
        infer(pod, version="2", image=b"no image")

    assert requests(pod) == {
        ("1", "v2", "400"): 8,
        ("2", "v2", "400"): 3,
        ("2", "grpc", "INVALID_ARGUMENT"): 1,
    }


def test_a_version_whose_instances_are_gone_counts_its_refusals_itself(pod):
    """503 by its head, before its body is read."""
    for process in pod.instances()[1:]:
        process.suspend()
    try:
        waiting = f"{pod.url}{MODEL}/versions/2/infer"
        limited = {**RAW, "x-request-timeout-ms": "1"}
        codes = {httpx.post(waiting, content=RED, headers=limited).status_code for _ in range(3)}
    finally:
        for process in pod.instances()[1:]:
            process.resume()

    assert codes <= {503, 504}
    assert {version for version, _, _ in requests(pod)} == {"2"}


def test_how_long_requests_took_is_counted_for_those_answered_well(pod):
    """Of each version apart, in buckets that end in infinity."""
    for _ in range(5):
        httpx.post(f"{pod.url}{MODEL}/infer", content=RED, headers=RAW).raise_for_status()
    infer(pod, version="2")
    httpx.post(f"{pod.url}{MODEL}/versions/2/infer", content=b"{", headers=JSON)

    assert counted(pod, "millrace_request_seconds_count", "version") == {("1",): 4, ("2",): 2}
    buckets = counted(pod, "millrace_request_seconds_bucket", "version", "le")
    assert (buckets["1", "+Inf"], buckets["2", "+Inf"]) == (4, 2)
    seconds = counted(pod, "millrace_request_seconds_sum", "version")
    assert 0 < seconds["2",] < 60


def test_a_new_version_stands_at_zero_before_its_first_request(pod):
    """Prometheus could not tell a first error from one that was always there."""
    text = httpx.get(f"{pod.url}/metrics").text

    for code, protocol in (("200", "v2"), ("500", "v1"), ("INTERNAL", "grpc")):
        labels = f'code="{code}",model="colours",protocol="{protocol}",version="2"'
        assert f"millrace_requests_total{{{labels}}} 0.0" in text
    assert 'millrace_request_seconds_count{model="colours",version="2"} 0.0' in text


def test_a_probe_is_counted_apart(pod):
    """A rollout asks the candidate directly: that is no share of the clients' requests."""
    for version in ("1", "2"):
        url = f"{pod.url}{MODEL}/versions/{version}/infer"
        httpx.post(url, content=RED, headers={**RAW, "x-millrace-probe": "1"}).raise_for_status()

    assert requests(pod) == {("1", "probe", "200"): 1, ("2", "probe", "200"): 1}
    assert not counted(pod, "millrace_request_seconds_count", "version")


def test_counts_go_on_when_a_version_goes_and_comes_again(pod):
    """What was in flight when it went is its own; what it counted stays."""
    named = f"{pod.url}{MODEL}/versions/2/infer"
    httpx.post(named, content=RED, headers=RAW).raise_for_status()
    stop = threading.Event()
    told: Counter[int] = Counter()

    def ask() -> None:
        with httpx.Client() as client:
            while not stop.is_set():
                told[client.post(named, content=RED, headers=RAW).status_code] += 1

    asking = threading.Thread(target=ask)
    asking.start()
    body = {"parameters": {"version": "2"}}
    httpx.post(f"{pod.url}{REPOSITORY}/unload", headers=SHOWN, json=body, timeout=60)
    stop.set()
    asking.join()
    body["parameters"]["traffic"] = 0
    httpx.post(f"{pod.url}{REPOSITORY}/load", headers=SHOWN, json=body, timeout=60)
    httpx.post(named, content=RED, headers=RAW).raise_for_status()

    found = requests(pod)
    assert found["2", "v2", "200"] == told[200] + 2
    assert {version for version, _, _ in found} == {"2"}
