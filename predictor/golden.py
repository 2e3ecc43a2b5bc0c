"""The golden check: before it takes traffic, an instance answers images whose answers are known."""

from __future__ import annotations

import numpy as np

from model_store.package import GoldenImage, ModelPackage
from predictor.decode import decode
from predictor.errors import StartupError
from predictor.runtimes import Runtime
from predictor.types import Answer

# Packaging computes the expected scores with the original network and Pillow's plain preprocessing.
# What may differ here is rounding by one pixel level and the device's arithmetic.
SCORE_TOLERANCE = 0.02


def check_golden(package: ModelPackage, runtime: Runtime) -> None:
    """Run every golden image of ``package`` through decode and ``runtime``.

    Raises:
        StartupError: an answer differs; says which image and how.
    """
    for golden in package.manifest.golden:
        encoded = (package.path / golden.file).read_bytes()
        pixels = decode(encoded, package.manifest.input, scaled=False)
        answers = runtime.run(np.ascontiguousarray(pixels[np.newaxis]))
        problem = _difference(golden, Answer(answers.indices[0], answers.scores[0]))
        if problem:
            raise StartupError(f"{package.path / golden.file}: golden check failed: {problem}")


def _difference(golden: GoldenImage, answer: Answer) -> str | None:
    """What differs by more than a tie, or None.

    Classes whose expected scores lie within the tolerance of each other may swap places; so scores
    are compared per class, and the first class must be one that was expected (nearly) on top.
    """
    expected = dict(zip(golden.indices, golden.scores, strict=True))
    top = int(answer.indices[0])
    if expected.get(top, -1.0) < golden.scores[0] - SCORE_TOLERANCE:
        return f"top class is {top}, expected {golden.indices[0]}"
    for index, score in zip(answer.indices.tolist(), answer.scores.tolist(), strict=True):
        if abs(score - expected.get(index, score)) > SCORE_TOLERANCE:
            return f"class {index} scores {score:.4f}, expected {expected[index]:.4f}"
    return None
