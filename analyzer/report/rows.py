"""Every image of a dataset beside what each model said of it, and which of them the page shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyzer.predictions import NO_TRUTH, Predictions
from analyzer.report.embedding import packed

SHOWN_CLASSES = 5  # of each answer
LONGEST_ERROR = 200  # characters
LEVELS = 65535  # a score is kept in 16 bits
WITH_LUCK = 0.05  # of all images come first whatever was said of them, so that they show the data
NOT_ASKED = "this model was not asked"


@dataclass(frozen=True, slots=True)
class Answers:
    """What one model said of a table's n images.

    Attributes:
        model: its name.
        labels: its classes.
        truth: int64 (n,), ``NO_TRUTH`` where there is none.
        indices: int64 (n, k), best first; -1 without an answer.
        scores: float32 (n, k).
        errors: why there is no answer, by row.
    """

    model: str
    labels: tuple[str, ...]
    truth: NDArray[np.int64]
    indices: NDArray[np.int64]
    scores: NDArray[np.float32]
    errors: dict[int, str]

    def at(self, rows: NDArray[np.int64]) -> Answers:
        """The same of some rows, in that order."""
        errors = {
            place: self.errors[row] for place, row in enumerate(rows.tolist()) if row in self.errors
        }
        return Answers(
            self.model,
            self.labels,
            self.truth[rows],
            self.indices[rows],
            self.scores[rows],
            errors,
        )

    def for_page(self) -> dict[str, Any]:
        """As the page unpacks it."""
        small = len(self.labels) < 2**15
        kind: Any = np.int16 if small else np.int32
        levels = np.nan_to_num(self.scores.clip(0, 1), nan=0.0) * LEVELS
        return {
            "model": self.model,
            "k": int(self.indices.shape[1]),
            "bits": 16 if small else 32,
            "truth": packed(self.truth.astype(kind)),
            "indices": packed(self.indices.astype(kind)),
            "scores": packed(np.rint(levels).astype(np.uint16)),
            "errors": {row: text[:LONGEST_ERROR] for row, text in self.errors.items()},
        }


@dataclass(frozen=True, slots=True)
class Table:
    """A dataset's n images, of ``of`` that it has, and what the models said of them."""

    dataset: str
    names: tuple[str, ...]
    answers: tuple[Answers, ...]
    of: int

    def at(self, rows: NDArray[np.int64]) -> Table:
        """The same of some rows, in that order."""
        names = tuple(self.names[row] for row in rows.tolist())
        return Table(self.dataset, names, tuple(each.at(rows) for each in self.answers), self.of)

    def interest(self) -> NDArray[np.float64]:
        """(n,): the larger, the sooner an image should be shown.

        First a few by chance, then mistakes, the surest first, then where models differ or fail,
        then the rest by chance. The same images come out in every report of the same answers.
        """
        count = len(self.names)
        chance = np.random.default_rng(0).random(count)
        found = chance.copy()
        said = [_words(each.indices[:, 0], each.labels) for each in self.answers]
        for each in self.answers:
            failed = each.indices[:, 0] < 0
            wrong = (each.truth != NO_TRUTH) & (each.indices[:, 0] != each.truth) & ~failed
            sure = np.nan_to_num(each.scores[:, 0].astype(np.float64))
            found = np.maximum(found, np.where(failed, 2 + chance, 0))
            found = np.maximum(found, np.where(wrong, 3 + sure, 0))
        for other in said[1:]:
            found = np.maximum(found, np.where(other != said[0], 2 + chance, 0))
        return np.where(np.random.default_rng(1).random(count) < WITH_LUCK, 5 + chance, found)


def tables(predictions: Sequence[Predictions]) -> tuple[Table, ...]:
    """A table for each dataset, in the order in which they come."""
    found: dict[str, list[Predictions]] = {}
    for each in predictions:
        found.setdefault(each.dataset, []).append(each)
    return tuple(_table(dataset, group) for dataset, group in found.items())


def _table(dataset: str, group: Sequence[Predictions]) -> Table:
    names = tuple(dict.fromkeys(name for each in group for name in each.names))
    place = {name: row for row, name in enumerate(names)}
    return Table(dataset, names, tuple(_answers(each, place) for each in group), len(names))


def _answers(asked: Predictions, place: dict[str, int]) -> Answers:
    width = min(asked.top_k, SHOWN_CLASSES)
    rows = np.array([place[name] for name in asked.names], dtype=np.int64)
    truth = np.full(len(place), NO_TRUTH, dtype=np.int64)
    indices = np.full((len(place), width), -1, dtype=np.int64)
    scores = np.full((len(place), width), np.nan, dtype=np.float32)
    truth[rows] = asked.truth
    indices[rows] = asked.indices[:, :width]
    scores[rows] = asked.scores[:, :width]
    errors = {
        int(row): error for row, error in zip(rows, asked.errors, strict=True) if error
    } | dict.fromkeys(set(range(len(place))) - set(rows.tolist()), NOT_ASKED)
    return Answers(asked.model, asked.labels, truth, indices, scores, errors)


def _words(indices: NDArray[np.int64], labels: tuple[str, ...]) -> NDArray[Any]:
    """(n,): labels, since two models may number the same classes differently."""
    found: NDArray[Any] = np.array([*labels, ""], dtype=object)[indices]
    return found
