"""What the analyzer asks of a model, wherever it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from analyzer.result import ModelFacts
from predictor.types import Image

Read: TypeAlias = Callable[[int], Image]  # an image by its number; may raise BrokenImageError


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Answers to some images, in any order.

    Attributes:
        numbers: int64 (b,), which images.
        indices: int64 (b, k), best class first; -1 where there is an error.
        scores: float32 (b, k); NaN as above.
        errors: by number, why an image gave no answer.
        passing: those of them that are the model's failure and not the image's: another time it
            may answer, so this is not kept.
    """

    numbers: NDArray[np.int64]
    indices: NDArray[np.int64]
    scores: NDArray[np.float32]
    errors: dict[int, str] = field(default_factory=dict)
    passing: frozenset[int] = frozenset()


def no_answers(
    numbers: Sequence[int], top_k: int, errors: dict[int, str], *, passing: bool = False
) -> Block:
    """A block of images that all failed; ``passing`` as in ``Block``, of all of them."""
    shape = (len(numbers), top_k)
    return Block(
        np.array(numbers, np.int64),
        np.full(shape, -1, np.int64),
        np.full(shape, np.nan, np.float32),
        errors,
        frozenset(numbers) if passing else frozenset(),
    )


class Model(Protocol):
    """One model of the report: a variant of a package here, or a running endpoint."""

    @property
    def name(self) -> str:
        """Unique in the report."""

    @property
    def identity(self) -> str:
        """What predictions are kept by: it changes when answers may."""

    @property
    def labels(self) -> tuple[str, ...]:
        """By class index; an endpoint's may only be known once it has answered."""

    @property
    def top_k(self) -> int:
        """Classes in an answer."""

    def facts(self) -> ModelFacts:
        """For the report."""

    def open(self) -> None:
        """Get ready to classify: what is loaded only once."""

    def classify(
        self, numbers: Sequence[int], read: Read, answered: Callable[[Block], None]
    ) -> None:
        """Classify images; ``answered`` is called by one thread at a time, as answers come.

        A broken image is an error in its block; what ends it all is raised.

        Args:
            numbers: which images, each answered exactly once.
            read: their bytes or pixels, called by several threads.
            answered: takes what is done.

        Raises:
            AnalyzerError: the model cannot answer at all.
        """

    def close(self) -> None:
        """Give back what it holds."""
