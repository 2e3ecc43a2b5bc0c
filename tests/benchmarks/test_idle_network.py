"""The network that costs nothing computes all the same."""

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest

from benchmarks.failing_network import RAISES
from benchmarks.idle_network import idle_model
from benchmarks.models import MODELS

LIKE = replace(next(iter(MODELS.values())), frontends=2, instances=2)


def logits(model, colour, size):
    """Its answer to one image of ``colour`` (bytes), as its package's preprocessing gives it."""
    session = onnxruntime.InferenceSession(model.source)
    pixels = np.empty((1, 3, size, size), np.float32)
    pixels[:] = (np.array(colour, np.float32).reshape(3, 1, 1) - 127.5) / 127.5
    return session.run(None, {"pixels": pixels})[0]


def test_an_idle_model_answers_by_the_mean_colour_whatever_its_size(tmp_path):
    """So that pods which differ in the size of their images alone can be compared."""
    answers = [
        logits(idle_model(LIKE, size, tmp_path), (250, 20, 60), size) for size in (8, 32, 224)
    ]

    assert answers[0].shape == (1, 10)
    assert np.allclose(answers[0], answers[1], atol=1e-3)
    assert np.allclose(answers[0], answers[2], atol=1e-3)


def test_an_idle_model_has_one_process_of_each_kind(tmp_path):
    """And as many labels as its network has classes."""
    model = idle_model(LIKE, 8, tmp_path)

    assert (model.name, model.frontends, model.instances) == ("idle8", 1, 1)
    assert len((tmp_path / "labels.txt").read_text(encoding="utf-8").splitlines()) == 10


def test_a_failing_one_fails_at_its_colours_alone(tmp_path):
    """The others are answered as by one that does not."""
    failing = idle_model(LIKE, 8, tmp_path, failing=True)
    sound = idle_model(LIKE, 8, tmp_path)

    assert np.allclose(logits(failing, (1, 2, 3), 8), logits(sound, (1, 2, 3), 8), atol=1e-3)
    with pytest.raises(Exception, match="out of"):
        logits(failing, RAISES, 8)
