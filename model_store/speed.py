"""How fast serving graphs are on this machine, beside one another."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model_store.original import Progress
from model_store.reference import Pixels
from model_store.serving import Serving

BATCHES = (1, 8)
THREADS = 1  # as instances on a CPU have unless told otherwise
# Rounds alternate between the graphs; the least time of each counts, as others only ever add.
ROUNDS, ROUND_S = 6, 0.1


def images_per_second(
    graphs: Sequence[Serving], pixels: list[Pixels], progress: Progress, rounds: int = ROUNDS
) -> list[dict[int, float]]:
    """The best rate of each graph, by images in a batch; they are to have ``THREADS``."""
    rates: list[dict[int, float]] = [{} for _ in graphs]
    for place, size in enumerate(BATCHES):
        images = np.stack([pixels[number % len(pixels)] for number in range(size)])
        least = [float("inf")] * len(graphs)
        for graph in graphs:
            graph.answer(images)  # the first run of a size allocates
        for round_ in range(rounds):
            for number, graph in enumerate(graphs):
                least[number] = min(least[number], _least_s(graph, images))
            progress("speed", place * rounds + round_ + 1, len(BATCHES) * rounds)
        for rate, seconds in zip(rates, least, strict=True):
            rate[size] = round(size / seconds, 1)
    return rates


def device() -> str:
    """What was measured on: the processor and how many of its cores there are."""
    name = platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            name = value.strip()
            break
    return f"cpu: {name}, {len(os.sched_getaffinity(0))} cores"


def _least_s(graph: Serving, images: NDArray[np.uint8]) -> float:
    least = float("inf")
    end = time.perf_counter() + ROUND_S
    while (began := time.perf_counter()) < end:
        graph.answer(images)
        least = min(least, time.perf_counter() - began)
    return least
