"""What a model said of every image of a dataset: all that accuracy is reckoned from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

NO_NUMBER = "the model's scores are no numbers"
NO_TRUTH = -1  # an image whose class nobody has said


@dataclass(frozen=True)  # no slots: what is reckoned of it is kept
class Predictions:
    """One model on one dataset; the arrays have a row for each of n images.

    Attributes:
        model: its name in the report, unique there.
        dataset: the same.
        labels: the model's, by class index.
        names: of the images, unique, as the dataset has them (a path in it).
        truth: int64 (n,), class indices of the model; ``NO_TRUTH`` where there is none.
        indices: int64 (n, k), best class first; -1 where the image gave no answer.
        scores: float32 (n, k), probabilities; NaN as above.
        errors: why an image gave no answer; empty for those that did. Scores that are no numbers
            are no answer.
        unknown_class: images of classes that the dataset names and the model does not have; they
            are without a truth.
    """

    model: str
    dataset: str
    labels: tuple[str, ...]
    names: tuple[str, ...]
    truth: NDArray[np.int64]
    indices: NDArray[np.int64]
    scores: NDArray[np.float32]
    errors: tuple[str, ...]
    unknown_class: int = 0

    def __post_init__(self) -> None:
        """Take answers whose scores are no numbers for none: no class is the best."""
        strange = self.answered & ~np.isfinite(self.scores).all(axis=1)
        if not strange.any():
            return
        kept = zip(self.errors, strange.tolist(), strict=True)
        vars(self).pop("answered")
        for name, value in (
            ("indices", np.where(strange[:, None], np.int64(-1), self.indices)),
            ("scores", np.where(strange[:, None], np.float32(np.nan), self.scores)),
            ("errors", tuple(NO_NUMBER if odd else error for error, odd in kept)),
        ):
            object.__setattr__(self, name, value)

    @cached_property
    def answered(self) -> NDArray[np.bool_]:
        """(n,): whether the image gave an answer."""
        return np.array([not error for error in self.errors], dtype=np.bool_)

    @cached_property
    def judged(self) -> NDArray[np.bool_]:
        """(n,): whether the image has both an answer and a truth."""
        found: NDArray[np.bool_] = self.answered & (self.truth != NO_TRUTH)
        return found

    @cached_property
    def ranks(self) -> NDArray[np.int64]:
        """(n,): the place, from 0, of the true class; k where it has none, or is unknown."""
        hit = (self.indices == self.truth[:, None]) & self.judged[:, None]
        places: NDArray[np.int64] = np.where(hit.any(axis=1), hit.argmax(axis=1), hit.shape[1])
        return places

    @property
    def labelled(self) -> int:
        """Images that the dataset names a class of, whether the model has it or not."""
        return int((self.truth != NO_TRUTH).sum()) + self.unknown_class

    @property
    def top_k(self) -> int:
        """How many classes an answer has."""
        return int(self.indices.shape[1])
