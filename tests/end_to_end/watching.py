"""Waiting for what a pod says of itself."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import httpx

from tests.end_to_end.conftest import Pod

WAIT_S = 30


def until(happened: Callable[[], bool]) -> None:
    """Ask again and again until it is so."""
    deadline = time.monotonic() + WAIT_S
    while not happened():
        assert time.monotonic() < deadline, "it never came"


def metric(pod: Pod, name: str, label: str = "") -> float:
    """The sum of a metric's samples whose labels match."""
    text = httpx.get(f"{pod.url}/metrics").text
    found = re.findall(rf"^{name}\{{[^}}]*{label}[^}}]*\}} (\S+)$", text, re.MULTILINE)
    return sum(map(float, found))
