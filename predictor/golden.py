"""The golden check: before it takes traffic, an instance answers images whose answers are known."""

from __future__ import annotations

import numpy as np

from model_store.package import GoldenImage, ModelPackage, Variant
from predictor.decode import decode
from predictor.errors import StartupError
from predictor.runtimes import Runtime
from predictor.types import Answer

# Packaging computes the expected scores with Pillow's plain preprocessing. What may differ here is
# rounding by one pixel level and the device's arithmetic. In 8 bits that moves activations by whole
# steps: MobileNetV2's scores by up to 0.056 on 20 photos, by 0.001 in fp32 and fp16.
SCORE_TOLERANCE = {"fp32": 0.02, "fp16": 0.02, "bf16": 0.05, "int8": 0.1}


def check_golden(package: ModelPackage, runtime: Runtime, variant: Variant) -> None:
    """Run every golden image of ``package`` through decode and ``runtime``, which has ``variant``.

    Raises:
        StartupError: an answer differs; says which image and how.
    """
    tolerance = SCORE_TOLERANCE[variant.precision]
    for golden in package.manifest.golden_of(variant):
        encoded = (package.path / golden.file).read_bytes()
        pixels = decode(encoded, package.manifest.input, scaled=False)
        answers = runtime.run(np.ascontiguousarray(pixels[np.newaxis]))
        problem = _difference(golden, Answer(answers.indices[0], answers.scores[0]), tolerance)
        if problem:
            raise StartupError(
                f"{package.path / golden.file}: golden check failed: {variant.file}: {problem}"
            )


def _difference(golden: GoldenImage, answer: Answer, tolerance: float) -> str | None:
    """What differs by more than a tie, or None.

    Classes whose expected scores lie within the tolerance of each other may swap places; so scores
    are compared per class, and the first class must be one that was expected (nearly) on top.
    """
    expected = dict(zip(golden.indices, golden.scores, strict=True))
    top = int(answer.indices[0])
    if expected.get(top, -1.0) < golden.scores[0] - tolerance:
        return f"top class is {top}, expected {golden.indices[0]}"
    for index, score in zip(answer.indices.tolist(), answer.scores.tolist(), strict=True):
        if abs(score - expected.get(index, score)) > tolerance:
            return f"class {index} scores {score:.4f}, expected {expected[index]:.4f}"
    return None
