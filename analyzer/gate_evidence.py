"""What the rules of a gate look at, taken from a result as estimates. None: it is not there."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from analyzer.estimate import Estimate
from analyzer.result import (
    Accuracy,
    BatchSpeed,
    Evaluation,
    ModelFacts,
    Rate,
    Result,
)

LEAST_BATCHES = 368  # that bound the 99th percentile from above (``intervals.quantile``)


def model_facts(result: Result, model: str) -> ModelFacts:
    """By name, which the result has."""
    return next(facts for facts in result.models if facts.name == model)


def evaluation(result: Result, model: str, dataset: str) -> Evaluation | None:
    """Of one model on one dataset."""
    found = (e for e in result.evaluations if (e.model, e.dataset) == (model, dataset))
    return next(found, None)


def top(accuracy: Accuracy, k: int) -> Estimate | None:
    """Images whose class is among the best ``k``, or among all of a model that has fewer."""
    k = min(k, len(accuracy.classes))
    for found in accuracy.top:
        if found.k == k and found.hits.of:
            return _share(found.hits)
    return None


def recalls(accuracy: Accuracy, least_images: int) -> dict[str, Estimate]:
    """By label, of classes with enough images; a label that stands twice gets its index."""
    names = _names([c.label for c in accuracy.classes])
    kept = [c for c in accuracy.classes if c.support >= least_images]
    return {names[c.index]: _share(c.recall) for c in kept}


def findings(result: Result, model: str, dataset: str, severities: Sequence[str]) -> list[str]:
    """What the checks of a dataset found that is as severe, as text; not what is others' fault."""
    return [
        one.text
        for facts in result.datasets
        if facts.name == dataset
        for one in facts.findings
        if one.severity in severities and one.model in (None, model)
    ]


def ece(accuracy: Accuracy) -> Estimate | None:
    """Expected calibration error."""
    found = accuracy.calibration
    if found is None or found.ece_low is None or found.ece_high is None:
        return None
    return Estimate(found.ece, found.ece_low, found.ece_high, f"{accuracy.judged:,} images")


def unanswered(accuracy: Accuracy) -> Estimate | None:
    """A fact about this dataset and no sample of others."""
    if not accuracy.images:
        return None
    missing = accuracy.images - accuracy.answered
    return Estimate.known(missing / accuracy.images, f"{missing:,} of {accuracy.images:,}")


def unknown_class(accuracy: Accuracy) -> Estimate:
    """Labelled images of classes that the model does not have; a fact as well."""
    count, of = accuracy.unknown_class, accuracy.labelled
    return Estimate.known(count / of if of else 0.0, f"{count:,} of {of:,} labelled images")


def robustness_drop(of_model: Evaluation, of: Literal["mean", "worst"]) -> Estimate | None:
    """How much top-1 falls, over all augmentations or by the one that costs most.

    The same images underlie every point. The mean's interval is over images; of a single
    augmentation a result has only counts, so its drop is bounded as if the images were others,
    which is wider.
    """
    found = of_model.robustness
    if found is None or not found.clean.of:
        return None
    if of == "mean" and found.mean_drop_low is not None and found.mean_drop_high is not None:
        low, high = found.mean_drop_low, found.mean_drop_high
        return Estimate(
            found.mean_drop, low, high, f"all augmentations of {found.clean.of:,} images"
        )
    clean = _share(found.clean)
    groups: dict[str, list[Rate]] = defaultdict(list)
    for point in found.points:
        groups["all augmentations" if of == "mean" else point.augmentation].append(point.top1)
    drops = [clean.less(_mean(rates)).on(name) for name, rates in groups.items()]
    return max(drops, key=lambda drop: drop.high, default=None)


def _mean(rates: Sequence[Rate]) -> Estimate:
    """Of shares that may all be off to the same side."""
    shares = [_share(rate) for rate in rates]
    return Estimate(
        math.fsum(s.figure for s in shares) / len(shares),
        math.fsum(s.low for s in shares) / len(shares),
        math.fsum(s.high for s in shares) / len(shares),
    )


def batches(
    result: Result, model: str, device: str | None
) -> Iterator[tuple[str, tuple[BatchSpeed, ...]]]:
    """What was measured of the variant that was analysed: (device, its batches)."""
    speed = result.speeds.get(model)
    if speed is None:
        return
    variant = model_facts(result, model).variant
    for found in speed.variants:
        if variant in (None, found.file) and device in (None, found.device):
            yield found.device, found.batches


def batch_p99(found: BatchSpeed, device: str) -> Estimate:
    """Seconds; without an upper bound, the basis says what gives one."""
    basis = f"{found.batches:,} batches of {found.batch_size} on {device}"
    if found.p99_high_s is None:
        basis += f" of the {LEAST_BATCHES} that it takes, a longer --timing-s allows more"
    return Estimate(
        found.p99_s,
        -math.inf if found.p99_low_s is None else found.p99_low_s,
        math.inf if found.p99_high_s is None else found.p99_high_s,
        basis,
    )


def batch_throughput(found: BatchSpeed, device: str) -> Estimate:
    """Images per second."""
    low, high = found.images_per_second_low, found.images_per_second_high
    return Estimate(
        found.images_per_second,
        -math.inf if low is None else low,
        math.inf if high is None else high,
        f"{found.batches:,} batches of {found.batch_size} on {device}",
    )


def size(result: Result, model: str) -> Estimate | None:
    """Bytes."""
    found = model_facts(result, model).size_bytes
    return None if found is None else Estimate.known(float(found))


@dataclass(frozen=True, slots=True)
class Pairs:
    """How many images both got right, only the candidate, only the champion, neither."""

    both: int
    candidate: int
    champion: int
    neither: int

    @property
    def images(self) -> int:
        """All of them."""
        return self.both + self.candidate + self.champion + self.neither

    def gain(self) -> Estimate:
        """By how much the candidate's share of right answers is above the champion's."""
        return Estimate.paired(self.candidate, self.champion, self.images)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Candidate and champion on the images that both answered and whose class is known.

    Attributes:
        every: all of them.
        by_class: by label; a label that stands twice gets its index.
    """

    every: Pairs
    by_class: dict[str, Pairs]


def between(result: Result, candidate: str, champion: str, dataset: str) -> Comparison | None:
    """The comparison of the two, whichever of them it has first; None without truths as well."""
    for found in result.agreements:
        if found.dataset != dataset or {found.first, found.second} != {candidate, champion}:
            continue
        turned = found.first != candidate
        names = _names(model_facts(result, found.first).labels)
        pairs = (found.both_right, found.only_first_right, found.only_second_right)
        every = _pairs(*pairs, found.both_wrong, turned=turned)
        by_class = {names[i]: _pairs(*row, turned=turned) for i, *row in found.pairs_by_class}
        return Comparison(every, by_class) if every.images else None
    return None


def uncompared(result: Result, candidate: str, champion: str, dataset: str) -> str | None:
    """Why the two could not be compared; None where they were, or were not meant to be."""
    for found in result.uncompared:
        if found.dataset == dataset and {found.first, found.second} == {candidate, champion}:
            return found.why
    return None


def _pairs(both: int, first: int, second: int, neither: int, *, turned: bool) -> Pairs:
    return Pairs(both, second, first, neither) if turned else Pairs(both, first, second, neither)


def _names(labels: Sequence[str]) -> list[str]:
    times = Counter(labels)
    return [
        f"{label} ({index})" if times[label] > 1 else label for index, label in enumerate(labels)
    ]


def _share(found: Rate) -> Estimate:
    return Estimate.share(found.count, found.of)
