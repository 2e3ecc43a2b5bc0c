"""Answers to augmented images on disk, a file for each augmentation and intensity.

So an analysis that was interrupted goes on with the next one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from analyzer.errors import AnalyzerError

CLEAN = "clean"


@dataclass(frozen=True, slots=True)
class Unit:
    """What was done to all images of a sample; without an intensity, nothing."""

    augmentation: str = CLEAN
    intensity: float = 0.0

    def __str__(self) -> str:
        return f"{self.augmentation} {self.intensity:.4g}" if self.intensity else self.augmentation


@dataclass(frozen=True, slots=True, eq=False)
class UnitAnswers:
    """The best class of n images, int64 (n,), -1 for no answer, and its score, float32 (n,)."""

    best: NDArray[np.int64]
    confidence: NDArray[np.float32]


class KeptUnits:
    """A folder of units.

    Args:
        folder: of all that is kept; None keeps nothing.
        about: all that answers depend on; in another folder where any of it is another.

    Raises:
        AnalyzerError: the folder cannot be made.
    """

    def __init__(self, folder: Path | None, about: Sequence[str]) -> None:
        key = hashlib.sha256(json.dumps(list(about)).encode()).hexdigest()[:20]
        self._folder = folder / key if folder else None
        try:
            if self._folder:
                self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise AnalyzerError(f"{self._folder}: {error.strerror or error}") from None

    def read(self, unit: Unit, images: int) -> UnitAnswers | None:
        """What is kept of a unit; None where it is not there, or not whole."""
        if self._folder is None:
            return None
        try:
            found = json.loads((self._folder / _file(unit)).read_text(encoding="utf-8"))
            best = np.array(found["best"], np.int64)
            confidence = np.array(found["confidence"], np.float32)  # None becomes NaN
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            return None  # damaged: it is done again, and written anew
        if best.shape != (images,) or confidence.shape != (images,):
            return None
        return UnitAnswers(best, confidence)

    def keep(self, unit: Unit, answers: UnitAnswers) -> None:
        """Write a unit, whole or not at all.

        Raises:
            AnalyzerError: it cannot be written.
        """
        if self._folder is None:
            return
        scores = [None if np.isnan(s) else float(s) for s in answers.confidence]
        text = json.dumps({"best": answers.best.tolist(), "confidence": scores})
        file = self._folder / _file(unit)
        temporary = file.with_suffix(".new")
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(file)
        except OSError as error:
            raise AnalyzerError(f"{file}: {error.strerror or error}") from None


def _file(unit: Unit) -> str:
    return f"{unit.augmentation} {unit.intensity!r}.json".replace(" ", "-")
