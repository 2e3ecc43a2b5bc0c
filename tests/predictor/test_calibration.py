"""How cores are shared out between decoding and inference."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictor.calibration import Split, measure_decode, split

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


def test_decoding_is_measured_on_the_packages_own_images(colours):
    """A thumbnail takes microseconds, not seconds."""
    assert 1e-6 < measure_decode(colours) < 0.1
