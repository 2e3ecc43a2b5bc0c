"""When requests of an open loop leave: fixed before any is sent, so no answer can move them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

Arrival = Literal["poisson", "constant"]
ARRIVALS: tuple[Arrival, ...] = ("poisson", "constant")

_AT_A_TIME = 1024


def intended_ns(
    arrival: Arrival, rate: float, *, worker: int = 0, workers: int = 1, seed: int = 0
) -> Iterator[int]:
    """Nanoseconds since the start at which one of ``workers`` sends, without end.

    Constant arrivals of all workers together are ``1 / rate`` apart. Poisson processes add up to
    one of the summed rate, so each worker draws its own gaps, exponential with mean
    ``workers / rate``.

    Args:
        arrival: the kind of process.
        rate: requests a second of all workers together, above 0.
        worker: which of them this is.
        workers: how many there are.
        seed: the same seed gives the same times.
    """
    if arrival == "constant":
        gap_ns = 1e9 * workers / rate
        offset_ns = 1e9 * worker / rate
        count = 0
        while True:
            yield round(offset_ns + count * gap_ns)  # multiplied, so that nothing adds up
            count += 1
    random = np.random.default_rng([seed, worker])
    now_ns = 0.0
    while True:
        gaps_ns = random.exponential(1e9 * workers / rate, _AT_A_TIME)
        times_ns = now_ns + np.cumsum(gaps_ns)
        yield from times_ns.astype(np.int64).tolist()
        now_ns = float(times_ns[-1])
