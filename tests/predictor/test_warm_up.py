"""What an instance learns about its device before it takes work."""

from __future__ import annotations

import numpy as np
import pytest

from predictor.errors import OutOfMemoryError
from predictor.runtimes import HostMemory
from predictor.types import Answers, BatchCost
from predictor.warm_up import fit_cost, warm_up, worthwhile_sizes

SIZES = [1, 2, 4, 8, 16, 32]


def curve(per_batch_s: float, per_image_s: float) -> list[float]:
    """Seconds of a device that behaves just so."""
    return [per_batch_s + per_image_s * size for size in SIZES]


def test_a_device_without_fixed_cost_wants_single_images():
    """A larger batch would only wait longer."""
    assert worthwhile_sizes(SIZES, curve(0.0, 0.02)) == SIZES


def test_a_device_with_a_high_fixed_cost_wants_large_batches():
    """Each doubling nearly halves what an image costs."""
    assert worthwhile_sizes(SIZES, curve(0.005, 0.00001)) == [32]


def test_a_fast_network_wants_a_few_images_to_share_the_handling():
    """A millisecond per batch is as much as an image of 1 ms, and a sixteenth of sixteen."""
    assert worthwhile_sizes(SIZES, curve(0.0, 0.001)) == [16, 32]


def test_in_between_the_smallest_size_near_the_best_is_taken():
    """Within five per cent of the best."""
    assert worthwhile_sizes(SIZES, curve(0.0005, 0.001)) == [16, 32]


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


class Device(HostMemory):
    """Runs at once, and has memory for so many images."""

    def __init__(self, memory: int, largest_batch: int | None = None) -> None:
        self.memory = memory
        self.largest_batch = largest_batch
        self.ran: set[int] = set()

    def run(self, images: np.ndarray) -> Answers:
        """One class for all."""
        self.ran.add(len(images))
        if len(images) > self.memory:
            raise OutOfMemoryError(f"{len(images)} images")
        shape = (len(images), 1)
        return Answers(np.zeros(shape, np.int64), np.ones(shape, np.float32))

    def close(self) -> None:
        """Nothing to give back."""


def test_batches_are_no_larger_than_the_memory_allows():
    """Whatever was asked for: the largest size that ran is the largest one used."""
    cost = warm_up(Device(memory=5), (4, 4, 3), max_batch_size=16)

    assert cost.max_batch_size == 4
    assert max(cost.preferred_batch_sizes) <= 4


@pytest.mark.parametrize("max_batch_size", [0, 16])
def test_no_batch_is_tried_that_the_graph_does_not_take(max_batch_size):
    """It would be an error, not want of memory."""
    device = Device(memory=100, largest_batch=6)

    cost = warm_up(device, (4, 4, 3), max_batch_size)

    assert max(device.ran) <= 6
    assert cost.max_batch_size == 6 or max_batch_size == 0


def test_a_device_without_memory_for_one_image_is_of_no_use():
    """The start fails with the runtime's own words."""
    with pytest.raises(OutOfMemoryError, match="1 images"):
        warm_up(Device(memory=0), (4, 4, 3), max_batch_size=0)


def test_preferred_sizes_that_are_set_are_taken():
    """Those that fit."""
    cost = warm_up(Device(memory=100), (4, 4, 3), 8, preferred_batch_sizes=(3, 6, 12))

    assert cost.preferred_batch_sizes == (3, 6)
