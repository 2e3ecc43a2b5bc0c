"""How much of its accuracy a model keeps when images are rotated, blurred, snowed on.

The same sample of a dataset is classified as it is, and then once for each augmentation and
intensity. What the model is given are pixels that its own decode resizes, or a lossless PNG of them
over the wire: as a server would see that image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import stats

from analyzer.augmentations import AUGMENTATIONS, VERSION, augment
from analyzer.dataset_survey import Progress
from analyzer.errors import AnalyzerError
from analyzer.intervals import TAIL, rate
from analyzer.predictions import NO_TRUTH
from analyzer.result import Robustness, RobustnessPoint
from analyzer.robustness_batches import Classify
from analyzer.robustness_kept import KeptUnits, Unit, UnitAnswers
from analyzer.robustness_pictures import Pictures
from analyzer.robustness_sample import stratified
from analyzer.run_model import Block, Read
from predictor.decode import DEFAULT_LIMITS
from predictor.types import DecodeLimits, Image, Pixels

INTENSITIES = (1 / 3, 2 / 3, 1.0)
SAMPLE = 300  # images: a rate of 0.8 is known to ± 0.045


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done.

    Attributes:
        augmentations: names in ``AUGMENTATIONS``.
        intensities: each in (0, 1].
        sample: images of the dataset, chosen by class.
        limits: on images' own size, as the server has them.
    """

    augmentations: tuple[str, ...] = tuple(AUGMENTATIONS)
    intensities: tuple[float, ...] = INTENSITIES
    sample: int = SAMPLE
    limits: DecodeLimits = DEFAULT_LIMITS

    def __post_init__(self) -> None:
        unknown = [name for name in self.augmentations if name not in AUGMENTATIONS]
        if unknown or not self.augmentations:
            raise AnalyzerError(
                f"no such augmentation: {', '.join(unknown) or 'none was named'}; "
                f"there are {', '.join(AUGMENTATIONS)}"
            )
        if not self.intensities or not all(0 < each <= 1 for each in self.intensities):
            raise AnalyzerError("intensities of augmentations lie above 0, and at 1 at most")
        if self.sample < 1:
            raise AnalyzerError("a sample has one image at least")

    @property
    def units(self) -> tuple[Unit, ...]:
        """All that is done to the sample."""
        return tuple(
            Unit(name, intensity)
            for name in self.augmentations
            for intensity in sorted(self.intensities)
        )


@dataclass(frozen=True, slots=True)
class Keeping:
    """Where answers are kept as they come, and whose they are.

    Attributes:
        folder: of all that is kept.
        identity: what changes when the model or the dataset does.
    """

    folder: Path
    identity: str


def robustness(
    classify: Classify,
    names: Sequence[str],
    read: Read,
    truth: NDArray[np.int64],
    progress: Progress,
    plan: Plan | None = None,
    keeping: Keeping | None = None,
) -> Robustness:
    """Measure one model on one dataset.

    Args:
        classify: of a model; ``in_batches`` makes one of a function.
        names: of the images, unique.
        read: gives images by their number; called by several threads.
        truth: int64 (n,), class indices of the model, ``NO_TRUTH`` where there is none. Where no
            image has one, answers are held against those to the images as they are.
        progress: told how many images are done of those of all units.
        plan: what is to be done.
        keeping: where to keep answers; units that are kept already are not done again.

    Raises:
        AnalyzerError: no image could be classified, or the model cannot answer at all.
    """
    plan = plan or Plan()
    numbers = stratified(names, truth, plan.sample)
    about = [str(VERSION), cv2.__version__, keeping.identity if keeping else ""]
    about += [repr(plan.limits), *(names[number] for number in numbers)]
    kept = KeptUnits(keeping.folder if keeping else None, about)
    units = plan.units
    count = _Count(progress, len(numbers) * (len(units) + 1))
    work = _Work(classify, names, Pictures(read, plan.limits), kept, count)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # images are augmented side by side already
    try:
        clean = work.answers(Unit(), numbers)
        good = clean.best >= 0
        if not good.any():
            raise AnalyzerError(
                f"robustness: none of {len(numbers)} images could be classified; "
                "see the dataset's findings"
            )
        augmented = [work.answers(unit, numbers[good]) for unit in units]
    finally:
        cv2.setNumThreads(threads)
    clean = UnitAnswers(clean.best[good], clean.confidence[good])
    expected = truth[numbers[good]]
    against_truth = bool((truth != NO_TRUTH).any())
    return _judged(clean, units, augmented, expected if against_truth else None)


@dataclass(slots=True)
class _Count:
    """Images done, of those of all units."""

    progress: Progress
    of: int
    done: int = 0

    def add(self, unit: Unit, images: int) -> None:
        self.done += images
        self.progress(f"robustness: {unit}", min(self.done, self.of), self.of)


@dataclass(frozen=True, slots=True)
class _Work:
    classify: Classify
    names: Sequence[str]
    pictures: Pictures
    kept: KeptUnits
    count: _Count

    def answers(self, unit: Unit, numbers: NDArray[np.int64]) -> UnitAnswers:
        """To all of ``numbers`` after ``unit`` has been done to them."""
        found = self.kept.read(unit, len(numbers))
        if found is not None:
            self.count.add(unit, len(numbers))
            return found
        rows = {number: row for row, number in enumerate(numbers.tolist())}
        answers = UnitAnswers(
            np.full(len(numbers), -1, np.int64), np.full(len(numbers), np.nan, np.float32)
        )

        passing = False

        def take(block: Block) -> None:
            nonlocal passing
            passing = passing or bool(block.passing)
            places = [rows[number] for number in block.numbers.tolist()]
            certain = np.isfinite(block.scores[:, 0])  # an answer without a score is none
            answers.best[places] = np.where(certain, block.indices[:, 0], -1)
            answers.confidence[places] = block.scores[:, 0]
            self.count.add(unit, len(places))

        def read(number: int) -> Image:
            return self._after(unit, number)

        self.classify(numbers.tolist(), read, take)
        if not passing:  # what fails for the moment may answer the next time
            self.kept.keep(unit, answers)
        return answers

    def _after(self, unit: Unit, number: int) -> Pixels:
        picture = self.pictures.picture(number)
        if not unit.intensity:
            return picture
        return augment(picture, unit.augmentation, unit.intensity, self.names[number])


def _judged(
    clean: UnitAnswers,
    units: Sequence[Unit],
    augmented: Sequence[UnitAnswers],
    truth: NDArray[np.int64] | None,
) -> Robustness:
    """Rates of answers to n images; an image that gives no answer once augmented is wrong."""
    expected = clean.best if truth is None else truth
    images = len(expected)
    right = clean.best == expected
    hits = np.stack([answers.best == expected for answers in augmented])  # (units, n)
    points = tuple(
        RobustnessPoint(
            augmentation=unit.augmentation,
            intensity=unit.intensity,
            images=images,
            top1=rate(int(hit.sum()), images),
            mean_confidence=_mean(answers.confidence),
        )
        for unit, answers, hit in zip(units, augmented, hits, strict=True)
    )
    low, high = _bounds(right - hits.mean(axis=0))
    drops: dict[str, list[float]] = {}
    for unit, hit in zip(units, hits, strict=True):
        drops.setdefault(unit.augmentation, []).append(float(right.mean() - hit.mean()))
    return Robustness(
        against="clean answers" if truth is None else "truth",
        clean=rate(int(right.sum()), images),
        points=points,
        mean_drop=float(right.mean() - hits.mean()),
        mean_drop_low=low,
        mean_drop_high=high,
        worst=max(drops, key=lambda name: math.fsum(drops[name])),
    )


def _mean(confidence: NDArray[np.float32]) -> float | None:
    there = confidence[~np.isnan(confidence)]
    return float(there.mean()) if there.size else None


def _bounds(drops: NDArray[np.float64]) -> tuple[float, float]:
    """Student's interval of the mean of images' drops, -1 to 1 each.

    As in Agresti and Caffo's interval (2000), one image that lost all and one that gained all are
    added: a few images that all behave alike prove little.
    """
    padded = np.concatenate((drops, (-1.0, 1.0)))
    half = float(stats.t.ppf(1 - TAIL, padded.size - 1) * stats.sem(padded))
    centre = float(padded.mean())
    return max(-1.0, centre - half), min(1.0, centre + half)
