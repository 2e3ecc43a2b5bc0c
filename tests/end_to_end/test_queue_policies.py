"""Priorities, policies and time limits as a pod's users meet them."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.conftest import colour_image
from tests.end_to_end.conftest import Pod

RED = colour_image("red")
RAW = {"Inference-Header-Content-Length": "0"}
V1, V2 = "/v1/models/colours:predict", "/v2/models/colours/infer"
POLICIES = {
    "1": {"max_queue_size": 16, "allow_timeout_override": False},
    "3": {"max_queue_size": 8, "default_timeout_us": 500_000, "timeout_action": "delay"},
}


@pytest.fixture
def levelled(start, colours) -> Pod:
    """Three levels; the first and the last have policies of their own."""
    settings = ("--priority-levels", "3", "--default-priority-level", "2", "--max-queue-size", "32")
    return start(colours, *settings, "--queue-policies", json.dumps(POLICIES))


@pytest.mark.parametrize("header", ["X-Request-Timeout-Ms", "X-Envoy-Expected-Rq-Timeout-Ms"])
@pytest.mark.parametrize("path", [V1, V2])
def test_a_time_limit_that_is_none_is_refused(pod, header, path):
    """400 that names the header; the same request without it is answered."""
    kind = {"Content-Type": "image/jpeg"} if path == V1 else RAW

    refused = httpx.post(f"{pod.url}{path}", content=RED, headers={**kind, header: "soon"})
    served = httpx.post(f"{pod.url}{path}", content=RED, headers={**kind, header: "60000"})

    assert (refused.status_code, served.status_code) == (400, 200)
    assert refused.json()["error"] == f"{header.lower()} is 'soon'; it takes whole milliseconds"


def test_a_time_limit_sent_twice_is_refused(pod):
    """Two lines are one list, and a list is no number."""
    twice = [*RAW.items(), ("X-Request-Timeout-Ms", "5000"), ("X-Request-Timeout-Ms", "6000")]

    answer = httpx.post(f"{pod.url}{V2}", content=RED, headers=twice)

    assert answer.status_code == 400
    assert "whole milliseconds" in answer.json()["error"]


def test_a_time_limit_that_passes_in_the_queue_is_told(start, colours):
    """504 to who is taken, by an idle pod, and cannot be in time; the next one is answered."""
    pod = start(colours, "--devices", "emulated:300+0", "--max-batch-size", "1")

    late = httpx.post(
        f"{pod.url}{V2}", content=RED, headers={**RAW, "X-Request-Timeout-Ms": "1"}, timeout=60
    )
    served = httpx.post(f"{pod.url}{V2}", content=RED, headers=RAW, timeout=60)

    assert (late.status_code, served.status_code) == (504, 200)


def test_the_configuration_shows_the_policy_of_every_level_that_has_one(levelled):
    """In Triton's words; the default level's is the default."""
    config = httpx.get(f"{levelled.url}/v2/models/colours/config").json()["dynamic_batching"]

    assert (config["priority_levels"], config["default_priority_level"]) == (3, 2)
    assert config["default_queue_policy"] == {
        "timeout_action": "REJECT",
        "default_timeout_microseconds": 0,
        "allow_timeout_override": True,
        "max_queue_size": 0,
    }
    assert config["priority_queue_policy"] == {
        "1": {
            "timeout_action": "REJECT",
            "default_timeout_microseconds": 0,
            "allow_timeout_override": False,
            "max_queue_size": 16,
        },
        "3": {
            "timeout_action": "DELAY",
            "default_timeout_microseconds": 500_000,
            "allow_timeout_override": True,
            "max_queue_size": 8,
        },
    }


def test_a_level_takes_as_many_images_as_its_policy_says(levelled):
    """More in one request are refused for good; the default level takes them."""

    def status(priority: int) -> int:
        pixels = [[[[0, 0, 0]] * 4] * 4] * 9
        tensor = {"name": "image", "datatype": "UINT8", "shape": [9, 4, 4, 3], "data": pixels}
        body = {"inputs": [tensor], "parameters": {"priority": priority}}
        return httpx.post(f"{levelled.url}{V2}", json=body).status_code

    assert [status(priority) for priority in (0, 1, 2, 3)] == [200, 200, 200, 400]
