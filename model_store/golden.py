"""Golden images: encoded images with known answers, chosen at packaging and checked ever after."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from model_store.answers import Answers, same_top1, score_difference
from model_store.errors import PackageError
from model_store.package import GOLDEN_FOLDER, GoldenImage, ModelPackage
from model_store.parity import TOLERANCE
from model_store.reference import reference_pixels
from model_store.serving import open_serving

MOST_GOLDEN = 4


def choose_golden(expected: Answers) -> tuple[int, ...]:
    """Which of the images become golden: one from each quarter of the set, best first decided.

    Within a quarter it is the one whose best class leads the second by most, so that a faster
    decoder or another device cannot tip a near-tie.
    """
    best = expected.scores
    lead = best[:, 0] - (best[:, 1] if best.shape[1] > 1 else 0)
    quarters = np.array_split(np.arange(len(lead)), min(MOST_GOLDEN, len(lead)))
    return tuple(int(quarter[np.argmax(lead[quarter])]) for quarter in quarters)


def write_golden(
    folder: Path, images: tuple[Path, ...], encoded: list[bytes], expected: Answers
) -> tuple[GoldenImage, ...]:
    """Copy the chosen ``images`` below the package ``folder`` and state their answers."""
    (folder / GOLDEN_FOLDER).mkdir()
    golden = []
    for number, chosen in enumerate(choose_golden(expected)):
        file = f"{GOLDEN_FOLDER}/{number}{images[chosen].suffix.lower()}"
        (folder / file).write_bytes(encoded[chosen])
        golden.append(
            GoldenImage(
                file=file,
                indices=tuple(int(i) for i in expected.indices[chosen]),
                scores=tuple(float(s) for s in expected.scores[chosen]),
            )
        )
    return tuple(golden)


def check_golden(package: ModelPackage) -> float:
    """Run every variant on the golden images, with reference preprocessing, and compare.

    Returns:
        The largest score difference.

    Raises:
        PackageError: naming the variant and the image, when an answer is not the stated one.
    """
    manifest = package.manifest
    largest = 0.0
    for variant in manifest.variants:
        own = variant.golden is not None
        tolerance = TOLERANCE[variant.precision] if own else manifest.parity.tolerance
        file = package.path / variant.file
        serving = open_serving(file, variant.runtime, variant.precision)
        for golden in manifest.golden_of(variant):
            pixels = reference_pixels((package.path / golden.file).read_bytes(), manifest.input)
            answers = serving.answer(pixels[np.newaxis])
            expected = Answers(
                np.array([golden.indices], dtype=np.int64),
                np.array([golden.scores], dtype=np.float32),
            )
            difference = score_difference(answers, expected)
            if difference > tolerance or not same_top1(answers, expected, tolerance).all():
                raise PackageError(
                    f"{file}: golden image {golden.file} gets class "
                    f"{answers.indices[0, 0]}, expected {golden.indices[0]}; scores differ by "
                    f"{difference:.2g} (allowed {tolerance:g})"
                )
            largest = max(largest, difference)
    return largest
