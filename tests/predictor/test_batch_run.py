"""A batch on which the runtime fails."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictor.batch_run import run_batch
from predictor.errors import OutOfMemoryError
from predictor.types import Answers


class Device:
    """Classifies an image as its own first pixel; breaks on poison, and on too large a batch."""

    def __init__(self, poison: set[int] = frozenset(), memory: int = 1000) -> None:
        self.poison = poison
        self.memory = memory
        self.sizes: list[int] = []

    def run(self, images: np.ndarray) -> Answers:
        """Answer, or raise as a runtime would."""
        self.sizes.append(len(images))
        first = images[:, 0, 0, 0].astype(np.int64)
        if len(images) > self.memory:
            raise OutOfMemoryError(f"{len(images)} images")
        if self.poison.intersection(first.tolist()):
            raise RuntimeError("illegal memory access")
        return Answers(first[:, np.newaxis], np.ones((len(images), 1), np.float32))


def numbered(count: int) -> np.ndarray:
    """``count`` images, each with its place in its pixels: uint8 (n, 2, 2, 3)."""
    return np.broadcast_to(
        np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 2, 2, 3)
    ).copy()


def answers(ran) -> list[int | None]:
    """The class of each row in order; None where there is none."""
    rows: list[int | None] = []
    for part in ran.parts:
        assert part.rows.start == len(rows)
        count = part.rows.stop - part.rows.start
        rows += [None] * count if part.answers is None else part.answers.indices[:, 0].tolist()
    return rows


@given(st.integers(1, 40), st.sets(st.integers(0, 39)), st.integers(1, 40))
def test_every_image_is_answered_but_the_ones_that_break_the_runtime(count, poison, memory):
    """Whatever the batch, the poison and the memory."""
    ran = run_batch(Device(poison, memory).run, numbered(count))

    assert answers(ran) == [None if n in poison else n for n in range(count)]
    assert ran.largest_part <= memory


def test_a_batch_too_large_for_the_memory_runs_in_halves():
    """And what ran at once says how large the next ones may be."""
    device = Device(memory=5)

    ran = run_batch(device.run, numbered(16))

    assert answers(ran) == list(range(16))
    assert (ran.out_of_memory, ran.largest_part) == (3, 4)
    assert device.sizes == [16, 8, 4, 4, 8, 4, 4]


def test_a_batch_without_errors_runs_once():
    """As nearly all of them."""
    device = Device()

    ran = run_batch(device.run, numbered(7))

    assert (device.sizes, ran.errors, ran.largest_part) == ([7], 0, 7)


@pytest.mark.parametrize("count", [1, 4])
def test_a_broken_device_computes_nothing(count):
    """No part has answers, so whoever runs it can tell."""
    ran = run_batch(Device(poison=set(range(count))).run, numbered(count))

    assert (ran.largest_part, answers(ran)) == (0, [None] * count)
