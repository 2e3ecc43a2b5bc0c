"""What is too large, too much or too slow is refused early, and costs nobody else anything."""

from __future__ import annotations

import json
import math
import socket
import threading

import httpx

from tests.end_to_end.test_protocols import IMAGES, v2_json


def test_a_body_over_the_limit_is_refused_before_it_is_read(start, colours):
    """By its Content-Length, and at the limit when it comes in chunks."""
    pod = start(colours, "--max-body-bytes", "1000", "--drain-delay-s", "0")
    url = f"{pod.url}/v2/models/colours/infer"

    by_length = httpx.post(url, content=b"x" * 2000)
    chunked = httpx.post(url, content=iter([b"x" * 600] * 3))

    assert (by_length.status_code, chunked.status_code) == (413, 413)
    assert "limit of 1000 bytes" in by_length.json()["error"]


def test_a_request_that_could_never_be_accepted_is_refused_for_good(start, colours):
    """400 that names the limit, not 503: trying again would not help."""
    pod = start(colours, "--max-queue-size", "4", "--drain-delay-s", "0")
    url = f"{pod.url}/v2/models/colours/infer"

    refused = httpx.post(url, json=v2_json(*[IMAGES["red"]] * 5))
    served = httpx.post(url, json=v2_json(*[IMAGES["red"]] * 4))

    assert refused.status_code == 400
    assert "has 5 images; the limit is 4" in refused.json()["error"]
    assert served.status_code == 200


def test_a_slow_sender_is_told_and_hung_up_on(start, colours):
    """408 once body_timeout_s is over, whether it sent a part or nothing; others are served."""
    pod = start(colours, "--body-timeout-s", "0.5", "--drain-delay-s", "0")
    host, port = pod.http.split(":")
    path = b"/v1/models/colours:predict"
    head = b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
    for sent in (head, head + b"a part"):
        with socket.create_connection((host, int(port)), timeout=60) as slow:
            slow.sendall(sent)
            answer = b"".join(iter(lambda: slow.recv(65536), b""))

        assert answer.startswith(b"HTTP/1.1 408")
        assert b"body_timeout_s" in answer
    assert httpx.get(f"{pod.url}/v2/health/ready").status_code == 200


def test_json_of_too_many_values_is_refused(pod):
    """Each becomes an object many times its size; as base64 or binary the same image is taken."""
    answer = httpx.post(f"{pod.url}/v2/models/colours/infer", content=b"[" + b"[]," * 2_200_000)

    assert answer.status_code == 413
    assert "binary extension" in answer.json()["error"]


def test_large_requests_are_parsed_beside_the_event_loop(start, colours):
    """While a client's millions of numbers are read, others are answered; then so is it."""
    pod = start(colours, "--drain-delay-s", "0")
    shape = [1, 1000, 1000, 3]
    pixels = [7] * math.prod(shape)
    tensor = {"name": "image", "datatype": "UINT8", "shape": shape, "data": pixels}
    body = json.dumps({"inputs": [tensor]})
    answers: list[int] = []

    def ask() -> None:
        answer = httpx.post(f"{pod.url}/v2/models/colours/infer", content=body, timeout=60)
        answers.append(answer.status_code)

    clients = [threading.Thread(target=ask) for _ in range(3)]
    for client in clients:
        client.start()
    beside = 0
    while any(client.is_alive() for client in clients):
        assert httpx.get(f"{pod.url}/v2/health/ready", timeout=60).status_code == 200
        beside += 1
    for client in clients:
        client.join()

    assert answers == [200, 200, 200]
    assert beside > 1
