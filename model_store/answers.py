"""What a serving graph answers, and how answers are compared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model_store.errors import PackageError
from model_store.session import RUNTIME_ERRORS, open_session, reason

# Two scores may swap places when each is off by the tolerance; but never when one is
# clearly the better, however small all scores are.
_NEAR_TIE_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Answers:
    """The best classes of N images: ``indices`` int64 (N, k), ``scores`` float32 (N, k)."""

    indices: NDArray[np.int64]
    scores: NDArray[np.float32]


class ServingGraph:
    """A serving graph of a package, run on the CPU to check it."""

    def __init__(self, file: Path, threads: int | None = None) -> None:
        self._name = file.name
        try:
            self._session = open_session(file, threads)
        except RUNTIME_ERRORS as error:
            raise PackageError(
                f"{file.name}: onnxruntime cannot load it: {reason(error)}"
            ) from error

    def answer(self, pixels: NDArray[np.uint8]) -> Answers:
        """The best classes of ``pixels`` (N, H, W, 3) uint8 RGB.

        Raises:
            PackageError: when the graph does not run on them.
        """
        try:
            indices, scores = self._session.run(["indices", "scores"], {"image": pixels})
        except RUNTIME_ERRORS as error:
            raise PackageError(
                f"{self._name}: does not run on {len(pixels)} images at once: {reason(error)}"
            ) from error
        return Answers(np.asarray(indices), np.asarray(scores))


def same_top1(answers: Answers, expected: Answers, tolerance: float) -> NDArray[np.bool_]:
    """For each image, whether both name the same best class.

    A near-tie is no disagreement: two classes that the expected scores put within twice
    ``tolerance`` of each other, and within a tenth of the best score, may swap places.
    """
    found = answers.indices[:, 0]
    best = expected.scores[:, 0]
    at_found = np.where(expected.indices == found[:, np.newaxis], expected.scores, 0).max(axis=1)
    near = np.minimum(2 * tolerance, _NEAR_TIE_SHARE * best)
    same: NDArray[np.bool_] = (found == expected.indices[:, 0]) | (best - at_found <= near)
    return same


def score_differences(answers: Answers, expected: Answers) -> NDArray[np.float32]:
    """For each image, the largest difference between scores, place by place and class by class.

    A class that only one side names is covered by the places: its score must equal what the other
    side has in that place.
    """
    by_place = np.abs(answers.scores - expected.scores)
    same_class = answers.indices[:, :, np.newaxis] == expected.indices[:, np.newaxis, :]
    by_class = np.abs(answers.scores[:, :, np.newaxis] - expected.scores[:, np.newaxis, :])
    largest: NDArray[np.float32] = np.maximum(
        by_place.max(axis=1, initial=0), by_class.max(axis=(1, 2), initial=0, where=same_class)
    )
    largest[np.isnan(answers.scores).any(axis=1)] = np.inf
    return largest


def score_difference(answers: Answers, expected: Answers) -> float:
    """The largest of ``score_differences``."""
    return float(score_differences(answers, expected).max(initial=0))


def log_difference(answers: Answers, other: Answers, floor: float) -> float:
    """The largest difference of the logarithms of scores above ``floor``, class by class.

    Logarithms of softmax scores are the logits but for a constant, so this sees a change in the
    network's arithmetic even where one score is 1 and the rest are nearly 0.
    """
    same_class = answers.indices[:, :, np.newaxis] == other.indices[:, np.newaxis, :]
    ours, theirs = answers.scores[:, :, np.newaxis], other.scores[:, np.newaxis, :]
    counted = same_class & (ours > floor) & (theirs > floor)
    logs = np.abs(np.log(np.maximum(ours, floor)) - np.log(np.maximum(theirs, floor)))
    return float(logs.max(initial=0, where=counted))
