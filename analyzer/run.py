"""One model over one dataset: what is known already is kept, what is missing is classified."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from analyzer.dataset_labels import Truth, truth_of
from analyzer.dataset_survey import Progress, Survey
from analyzer.endpoint import EndpointModel
from analyzer.errors import AnalyzerError
from analyzer.predictions import Predictions
from analyzer.run_kept import Kept
from analyzer.run_model import Block, Model

SAVE_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one model said of one dataset.

    Attributes:
        predictions: all of it.
        truth: how the dataset's names were taken, and what was noticed.
        seconds: that classifying took, in this run and in those that it went on from.
        images: that were classified in that time.
    """

    predictions: Predictions
    truth: Truth
    seconds: float
    images: int

    @property
    def images_per_second(self) -> float:
        """Of classifying; 0 where nothing was."""
        return self.images / self.seconds if self.seconds > 0 else 0.0


def run(model: Model, survey: Survey, folder: Path, progress: Progress) -> Outcome:
    """Classify what has not been classified yet.

    Args:
        model: any.
        survey: of the dataset.
        folder: where answers are kept as they come.
        progress: told how it goes.

    Raises:
        AnalyzerError: the model cannot answer; what it has answered is kept.
    """
    dataset = survey.dataset
    count = len(dataset.items)
    with Kept(folder, model.identity, survey.digest, count, model.top_k) as kept:
        _classify(model, survey, kept, progress)
        indices, scores = kept.indices, kept.scores
        errors = tuple(kept.errors.get(number, "") for number in range(count))
        facts = kept.facts
        if kept.passing and all(errors):
            raise AnalyzerError(
                f"{model.name} on {dataset.name}: answers none of {count} images: "
                f"{errors[min(kept.passing)]}"
            )
    truth = truth_of(dataset, model.labels, model.name)
    predictions = Predictions(
        model=model.name,
        dataset=dataset.name,
        labels=model.labels,
        names=tuple(item.name for item in dataset.items),
        truth=truth.indices,
        indices=indices,
        scores=scores,
        errors=errors,
        unknown_class=truth.unknown_class,
    )
    return Outcome(predictions, truth, facts["seconds"], facts["images"])


def _classify(model: Model, survey: Survey, kept: Kept, progress: Progress) -> None:
    if isinstance(model, EndpointModel):
        model.learn({int(index): label for index, label in kept.facts.get("labels", [])})
    left: NDArray[np.int64] = np.flatnonzero(~kept.done | _nameless(model, kept))
    taking = _Taking(model, kept, len(survey.dataset.items) - len(left))
    what, count = f"{model.name} on {survey.dataset.name}", len(survey.dataset.items)

    def take(block: Block) -> None:
        taking.take(block)
        progress(what, taking.done, count)

    try:
        if len(left):
            model.open()
            taking.begin()
            model.classify(left.tolist(), survey.read, take)
    finally:
        taking.note()


def _nameless(model: Model, kept: Kept) -> NDArray[np.bool_]:
    """(n,): answers of an endpoint whose labels were lost with what was known of the run."""
    if not isinstance(model, EndpointModel):
        return np.zeros(len(kept.done), np.bool_)
    known = np.isin(kept.indices, [-1, *model.learnt])
    return np.array(~known.all(axis=1), np.bool_)


class _Taking:
    """Keeps what comes, and how long it took; every few seconds also what it knows of that."""

    def __init__(self, model: Model, kept: Kept, done: int) -> None:
        self.done = done
        self._model = model
        self._kept = kept
        self._images = int(kept.facts.get("images", 0))
        self._seconds = float(kept.facts.get("seconds", 0.0))
        self._last = time.perf_counter()
        self._saved = self._last

    def begin(self) -> None:
        """From now on time counts."""
        self._last = self._saved = time.perf_counter()

    def take(self, block: Block) -> None:
        """One block more."""
        self._keep_labels()
        self._kept.put(block)
        self.done += len(block.numbers)
        self._images += len(block.numbers)
        now = time.perf_counter()
        self._seconds += now - self._last
        self._last = now
        if now - self._saved > SAVE_EVERY_S:
            self._saved = now
            self.note()
            self._kept.save_facts()

    def _keep_labels(self) -> None:
        """Before the answers that have them: a kill in between must not leave those nameless."""
        if not isinstance(self._model, EndpointModel):
            return
        if len(self._model.learnt) > len(self._kept.facts.get("labels", ())):
            self.note()
            self._kept.save_facts()

    def note(self) -> None:
        """Put down what is known so far."""
        facts = self._kept.facts
        facts["images"], facts["seconds"] = self._images, self._seconds
        if isinstance(self._model, EndpointModel):
            facts["labels"] = list(self._model.learnt.items())
