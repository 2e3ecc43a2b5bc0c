"""Images of clients that leave are never computed."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import grpc
import httpx
import pytest

from tests.end_to_end.conftest import Pod
from tests.end_to_end.kserve_stub import infer_request, kserve_stub
from tests.end_to_end.test_protocols import IMAGES
from tests.end_to_end.watching import WAIT_S, metric, until


def images_that(pod: Pod, *outcomes: str) -> int:
    """How many images had one of these outcomes, by the pod's metrics."""
    return int(metric(pod, "millrace_images_total", f'outcome="(?:{"|".join(outcomes)})"'))


def failures(pod: Pod) -> int:
    """How many requests failed, by the pod's statistics."""
    stats = httpx.get(f"{pod.url}/v2/models/colours/stats").json()["model_stats"][0]
    return stats["inference_stats"]["fail"]["count"]


@contextlib.contextmanager
def cancelled_call(pod: Pod) -> Iterator[None]:
    """A gRPC call that its client cancels."""
    with kserve_stub(pod) as stub:
        call = stub.ModelInfer.future(infer_request(raw=True, typed=False))
        yield
        call.cancel()


@contextlib.contextmanager
def late_call(pod: Pod) -> Iterator[None]:
    """A gRPC call whose deadline passes."""
    with kserve_stub(pod) as stub:
        call = stub.ModelInfer.future(infer_request(raw=True, typed=False), timeout=3)
        yield
        assert call.exception(WAIT_S).code() == grpc.StatusCode.DEADLINE_EXCEEDED


@contextlib.contextmanager
def hung_up_request(pod: Pod) -> Iterator[None]:
    """An HTTP request whose client closes the connection."""
    host, port = pod.http.split(":")
    head = (
        "PUT /v1/models/colours:predict HTTP/1.1\r\nHost: pod\r\n"
        f"Content-Length: {len(IMAGES['green'])}\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=WAIT_S) as connection:
        connection.sendall(head.encode() + IMAGES["green"])
        yield


@pytest.mark.parametrize("request_of", [cancelled_call, late_call, hung_up_request])
def test_the_image_of_a_client_that_leaves_is_never_computed(guarded, request_of):
    """It waits at an instance that stands still; its client leaves, and the instance goes on."""
    (instance,) = guarded.instances()
    until(lambda: metric(guarded, "millrace_queue_depth") == 0)
    computed, dropped = images_that(guarded, "done"), images_that(guarded, "abandoned", "expired")
    failed = failures(guarded)
    instance.suspend()
    try:
        with request_of(guarded):
            until(lambda: metric(guarded, "millrace_queue_depth") == 1)
        until(lambda: failures(guarded) == failed + 1)
    finally:
        instance.resume()

    until(lambda: images_that(guarded, "abandoned", "expired") == dropped + 1)
    answer = httpx.put(f"{guarded.url}/v1/models/colours:predict", content=IMAGES["green"])
    assert answer.status_code == 200
    until(lambda: images_that(guarded, "done") > computed)
    assert computed + 1 == images_that(guarded, "done")
