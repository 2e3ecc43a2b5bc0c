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
from analyzer.predictions import Predictions
from analyzer.run_kept import Kept
from analyzer.run_model import Block, Model


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
    )
    return Outcome(predictions, truth, facts["seconds"], facts["images"])


def _classify(model: Model, survey: Survey, kept: Kept, progress: Progress) -> None:
    left: NDArray[np.int64] = np.flatnonzero(~kept.done)
    count = len(survey.dataset.items)
    total, seconds = int(kept.facts.get("images", 0)), float(kept.facts.get("seconds", 0.0))
    began, answered = time.perf_counter(), 0
    what = f"{model.name} on {survey.dataset.name}"
    if isinstance(model, EndpointModel):
        model.learn({int(index): label for index, label in kept.facts.get("labels", [])})

    def take(block: Block) -> None:
        nonlocal answered
        kept.put(block)
        answered += len(block.numbers)
        progress(what, count - len(left) + answered, count)

    try:
        if len(left):
            model.classify(left.tolist(), survey.read, take)
    finally:
        kept.facts["images"] = total + answered
        kept.facts["seconds"] = seconds + time.perf_counter() - began
        if isinstance(model, EndpointModel):
            kept.facts["labels"] = list(model.learnt.items())
