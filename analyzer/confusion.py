"""What the images of each class were taken for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analyzer.predictions import Predictions
from analyzer.result import ConfusedPair

MOST_PAIRS = 50
MOST_OF_A_CLASS = 5


@dataclass(frozen=True, slots=True)
class Confusion:
    """The cells of a confusion matrix that have images; arrays have an entry for each of c cells.

    Attributes:
        classes: how many the model has.
        truth: int64 (c,), rising.
        said: int64 (c,), rising within a truth.
        images: int64 (c,), 1 and more.
    """

    classes: int
    truth: NDArray[np.int64]
    said: NDArray[np.int64]
    images: NDArray[np.int64]

    @property
    def support(self) -> NDArray[np.int64]:
        """(classes,): images of each class."""
        return self._sum(self.truth, np.ones_like(self.said, dtype=np.bool_))

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(classes,): images said to be of each class."""
        return self._sum(self.said, np.ones_like(self.said, dtype=np.bool_))

    @property
    def right(self) -> NDArray[np.int64]:
        """(classes,): images of each class that were said to be of it."""
        return self._sum(self.truth, self.truth == self.said)

    def cells(self) -> tuple[tuple[int, int, int], ...]:
        """(truth, said, images)."""
        return tuple(
            zip(self.truth.tolist(), self.said.tolist(), self.images.tolist(), strict=True)
        )

    def pairs(self) -> tuple[ConfusedPair, ...]:
        """The most confused, most images first."""
        support = self.support
        return tuple(
            ConfusedPair(truth=truth, said=said, images=images, share=images / int(support[truth]))
            for truth, said, images in self._worst()[:MOST_PAIRS]
        )

    def of_each_class(self) -> dict[int, list[tuple[int, int]]]:
        """By true class: (what its images were taken for, images), most first."""
        found: dict[int, list[tuple[int, int]]] = {}
        for truth, said, images in self._worst():
            of_class = found.setdefault(truth, [])
            if len(of_class) < MOST_OF_A_CLASS:
                of_class.append((said, images))
        return found

    def _worst(self) -> list[tuple[int, int, int]]:
        wrong = [cell for cell in self.cells() if cell[0] != cell[1]]
        return sorted(wrong, key=lambda cell: -cell[2])  # stable: by class where images are equal

    def _sum(self, of: NDArray[np.int64], kept: NDArray[np.bool_]) -> NDArray[np.int64]:
        sums = np.bincount(of[kept], self.images[kept], minlength=self.classes)
        return sums.astype(np.int64)


def confusion(predictions: Predictions) -> Confusion:
    """Of the images that have both an answer and a truth."""
    judged = predictions.judged
    classes = len(predictions.labels)
    cells = predictions.truth[judged] * classes + predictions.indices[judged, 0]
    found, images = np.unique(cells, return_counts=True)
    return Confusion(classes, found // classes, found % classes, images.astype(np.int64))
