"""How cores are shared out between decoding and inference."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictor.calibration import (
    Split,
    default_decode_threads,
    default_frontends,
    measure_decode,
    split,
)

SECONDS = st.floats(1e-4, 0.1)


@pytest.mark.parametrize(
    ("cores", "decode_ms", "infer_ms", "found"),
    [
        (1, 4, 10, Split(1, 1)),
        (2, 4, 10, Split(1, 2)),  # 102/s with a core each; 143/s when three threads share two cores
        (2, 5, 5, Split(1, 1)),
        (8, 4, 10, Split(3, 6)),  # 8 threads would be 2 + 6, and a tenth slower
        (8, 10, 4, Split(6, 3)),
        (16, 5, 5, Split(8, 8)),
    ],
)
def test_cores_are_shared_out_by_what_an_image_costs(cores, decode_ms, infer_ms, found):
    """With whole numbers, and time-sharing where those do not do."""
    assert split(cores, decode_ms / 1e3, infer_ms / 1e3) == found


@given(st.integers(1, 40), SECONDS, SECONDS)
def test_what_is_found_comes_near_to_all_the_cores_can_do(cores, decode_s, infer_s):
    """And no thread more than that takes."""
    found = split(cores, decode_s, infer_s)

    def rate(decoders: int, instances: int) -> float:
        return min(decoders / decode_s, instances / infer_s, cores / (decode_s + infer_s))

    most = cores / (decode_s + infer_s)
    assert rate(found.decode_threads, found.instances) >= 0.95 * most
    assert rate(found.decode_threads - 1, found.instances) < 0.95 * most
    assert rate(found.decode_threads, found.instances - 1) < 0.95 * most


@pytest.mark.parametrize(
    ("cores", "frontends", "decode_threads", "found"),
    [
        (2, 2, 0, Split(2, 2)),  # each frontend has one thread at least
        (8, 2, 0, Split(4, 6)),  # 3 and 6 with one frontend
        (8, 1, 1, Split(1, 3)),  # one decoder keeps two and a half of them busy
        (8, 4, 2, Split(8, 6)),
        (2, 4, 0, Split(4, 2)),
    ],
)
def test_frontends_and_threads_that_are_set_are_reckoned_with(
    cores, frontends, decode_threads, found
):
    """No instance waits for images that nobody decodes."""
    assert split(cores, 0.004, 0.010, frontends, decode_threads) == found


@pytest.mark.parametrize(
    ("cores", "inference_threads", "frontends", "each"),
    [
        (1, 1, 1, 1),
        (2, 2, 1, 2),  # two instances of one thread: with one decoder they would wait for it
        (2, 2, 2, 1),
        (2, 0, 1, 2),  # a GPU leaves the cores to the decoders
        (8, 0, 1, 8),
        (8, 0, 4, 2),
        (8, 2, 1, 6),
        (8, 8, 1, 4),  # shared by time
        (8, 8, 3, 1),
        (3, 3, 1, 2),
    ],
)
def test_decoders_get_what_instances_leave_and_half_of_the_cores_at_least(
    cores, inference_threads, frontends, each
):
    """In all frontends together."""
    assert default_decode_threads(cores, inference_threads, frontends) == each


@pytest.mark.parametrize(("cores", "frontends"), [(1, 1), (2, 1), (4, 1), (5, 2), (8, 2), (16, 4)])
def test_there_is_a_frontend_for_every_four_cores(cores, frontends):
    """More decode threads than that wait for their process's interpreter lock."""
    assert default_frontends(cores) == frontends


def test_decoding_is_measured_on_the_packages_own_images(colours):
    """A thumbnail takes microseconds, not seconds."""
    assert 1e-6 < measure_decode(colours) < 0.1
