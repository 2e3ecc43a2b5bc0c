"""What an instance learns about its device before it takes work."""

from __future__ import annotations

import pytest

from predictor.types import BatchCost
from predictor.warm_up import fit_cost, worthwhile_size

SIZES = [1, 2, 4, 8, 16, 32]


def curve(per_batch_s: float, per_image_s: float) -> list[float]:
    """Seconds of a device that behaves just so."""
    return [per_batch_s + per_image_s * size for size in SIZES]


def test_a_device_without_fixed_cost_wants_single_images():
    """A larger batch would only wait longer."""
    assert worthwhile_size(SIZES, curve(0.0, 0.02)) == 1


def test_a_device_with_a_high_fixed_cost_wants_large_batches():
    """Each doubling nearly halves what an image costs."""
    assert worthwhile_size(SIZES, curve(0.005, 0.00001)) == 32


def test_a_fast_network_wants_a_few_images_to_share_the_handling():
    """0.4 ms per batch are two fifths of a 1 ms image, and a twentieth of eight."""
    assert worthwhile_size(SIZES, curve(0.0, 0.001)) == 8


def test_in_between_the_smallest_size_near_the_best_is_taken():
    """Within five per cent of the best."""
    assert worthwhile_size(SIZES, curve(0.001, 0.001)) == 16


def test_the_cost_is_the_line_through_the_timings():
    """Both parts come back."""
    cost = fit_cost(SIZES, curve(0.004, 0.002), max_batch_size=8)

    assert (
        pytest.approx(cost.per_batch_s),
        pytest.approx(cost.per_image_s),
        cost.max_batch_size,
    ) == (0.004, 0.002, 8)


def test_a_noisy_line_never_has_a_negative_part():
    """A cost below zero would promise the past."""
    cost = fit_cost([1, 2, 4], [0.001, 0.004, 0.010], max_batch_size=4)

    assert cost.per_batch_s == 0.0
    assert cost.per_image_s > 0


def test_seconds_count_whole_batches():
    """Nine images in batches of four are three batches."""
    assert pytest.approx(3 * 0.1 + 9 * 0.01) == BatchCost(0.1, 0.01, 4).seconds(9)
