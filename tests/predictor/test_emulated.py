"""A device that sleeps."""

from __future__ import annotations

import numpy as np
import pytest

from predictor.errors import OutOfMemoryError
from predictor.runtimes.emulated import EmulatedRuntime, answers_of
from predictor.types import EmulatedCost

IMAGES = np.random.default_rng(3).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)


def test_an_answer_belongs_to_its_image_whatever_the_batch():
    """So that a test can tell whose it got."""
    runtime = EmulatedRuntime(EmulatedCost(0.0, 0.0), classes=1000, top_k=5)

    together = runtime.run(IMAGES)

    for number, image in enumerate(IMAGES):
        alone = answers_of(image[np.newaxis], 1000, 5)
        assert together.indices[number].tolist() == alone.indices[0].tolist()
    assert len(set(together.indices[:, 0].tolist())) == len(IMAGES)
    assert together.scores.dtype == np.float32


def test_a_batch_beyond_its_memory_is_refused():
    """As a real device would."""
    runtime = EmulatedRuntime(EmulatedCost(0.0, 0.0, largest_batch=8), classes=10, top_k=1)

    runtime.run(IMAGES[:8])
    with pytest.raises(OutOfMemoryError):
        runtime.run(IMAGES)
