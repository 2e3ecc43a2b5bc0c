"""How many frontends there are, how many threads decode, and how many instances infer."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import product

from model_store.package import ModelPackage
from predictor.decode import decode
from predictor.header import Header, describe

# Decode threads share their process's interpreter lock, which they hold for a tenth of their time:
# 8 of them did 0.77 of what 8 processes do, 16 of them 0.47 (benchmarks/RESULTS.md, an H200).
CORES_PER_FRONTEND = 4
GOOD_ENOUGH = 0.95
TRIES_S = 0.2
LEAST_TRIES, MOST_TRIES = 3, 50


@dataclass(frozen=True, slots=True)
class Split:
    """Threads that decode, in all frontends together, and single-threaded instances."""

    decode_threads: int
    instances: int


def split(
    cores: int, decode_s: float, infer_s: float, frontends: int = 1, decode_threads: int = 0
) -> Split:
    """The fewest threads that come within 5 % of what ``cores`` can do.

    One image costs decode_s + infer_s of a core's time, so no split gives more than
    cores ÷ (decode_s + infer_s) images a second; n_d decoders and n_i instances give
    min(n_d ÷ decode_s, n_i ÷ infer_s, that). Where no split with n_d + n_i ≤ cores comes near (on
    two cores none can, unless both cost the same), threads are added that share cores by time:
    the decoders go first (``instance_nice``), the instances take what is left.

    Args:
        cores: how many can be kept busy.
        decode_s: seconds to decode an image on one thread.
        infer_s: seconds to infer an image on a single-threaded instance.
        frontends: which have equally many decode threads, one at least.
        decode_threads: of each frontend, where that is set; 0 to find it. With too few for the
            cores, no more instances are found than they keep busy.
    """
    most = cores / (decode_s + infer_s)

    def rate(candidate: Split) -> float:
        return min(candidate.decode_threads / decode_s, candidate.instances / infer_s, most)

    each = [decode_threads] if decode_threads else range(1, -(-cores // frontends) + 1)
    candidates = [
        Split(threads * frontends, instances)
        for threads, instances in product(each, range(1, cores + 1))
    ]
    enough = GOOD_ENOUGH * max(rate(candidate) for candidate in candidates)
    good = [candidate for candidate in candidates if rate(candidate) >= enough]
    return min(good, key=lambda each: (each.decode_threads + each.instances, -each.instances))


def default_frontends(cores: int) -> int:
    """Frontends, where they are not set.

    Args:
        cores: how many can be kept busy.
    """
    return -(-cores // CORES_PER_FRONTEND)


def default_decode_threads(cores: int, inference_threads: int, frontends: int) -> int:
    """Decode threads of each frontend, where neither they are set nor anything was measured.

    In all: what the instances leave of the cores, but half of the cores and two at least, where
    there are two. Threads share cores by time, and with one decoder a second core idles whenever
    both instances wait for it (measured on two cores with two instances of one thread).

    Args:
        cores: how many can be kept busy.
        inference_threads: of all instances that compute on these cores.
        frontends: which have equally many, one at least.
    """
    in_all = min(cores, max(cores - inference_threads, -(-cores // 2), 2))
    return max(1, in_all // frontends)


def decode_timings(package: ModelPackage) -> list[tuple[Header, float]]:
    """What the package's golden images cost to decode, one by one; and the decoder is warm."""
    timings = []
    for golden in package.manifest.golden:
        encoded = (package.path / golden.file).read_bytes()
        header = describe(encoded)
        for _ in range(2):  # the first one loads what decoding needs
            began = time.perf_counter()
            decode(encoded, package.manifest.input)
            spent = time.perf_counter() - began
        if header is not None:
            timings.append((header, spent))
    return timings


def measure_decode(package: ModelPackage) -> float:
    """Seconds to decode one of the package's golden images on one thread; their mean.

    Each is timed until 0.2 s are spent, and the least counts: whatever else runs only ever adds.
    """
    golden = package.manifest.golden
    spent = []
    for one in golden:
        encoded = (package.path / one.file).read_bytes()
        best = float("inf")
        end = time.perf_counter() + TRIES_S / len(golden)
        for number in range(MOST_TRIES):
            began = time.perf_counter()
            decode(encoded, package.manifest.input)
            best = min(best, time.perf_counter() - began)
            if number >= LEAST_TRIES and time.perf_counter() > end:
                break
        spent.append(best)
    return sum(spent) / len(spent)
