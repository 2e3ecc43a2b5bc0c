"""What rules have in common: the datasets and devices they are judged on, the worst class."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from analyzer import gate_evidence as evidence
from analyzer.estimate import Estimate
from analyzer.gate_file import BatchRule, DatasetRule
from analyzer.gate_verdict import Subject, not_measured
from analyzer.result import BatchSpeed, Evaluation, Result, RuleVerdict

NO_ANSWERS = "the model was not analysed on it"
NO_TRUTH = "no image with an answer has a known class"
NO_SCORES = "no image with a known class, or too few classes in an answer"
TOO_FEW = "no class has enough images"
NO_ROBUSTNESS = "no augmentations were analysed"
NO_SPEED = "no such batches were timed"
NO_SIZE = "its size is not known"


@dataclass(frozen=True, slots=True)
class Case:
    """Who is judged on what, and against whom; an empty champion is none."""

    result: Result
    model: str
    champion: str = ""

    def on_datasets(
        self,
        name: str,
        rule: DatasetRule,
        look: Callable[[Evaluation], Estimate | None],
        compare: Callable[[Subject, Estimate, float], RuleVerdict],
        threshold: float,
        why: str | Callable[[str], str],
    ) -> Iterator[RuleVerdict]:
        """A verdict for each dataset.

        Args:
            name: of the rule.
            rule: which datasets it is judged on.
            look: what is compared; None where there is nothing.
            compare: with the threshold.
            threshold: of the rule.
            why: said where there is nothing to compare; or what says it of a dataset.
        """
        datasets = rule.datasets or tuple(dataset.name for dataset in self.result.datasets)
        if not datasets:
            yield not_measured(Subject(name, self.model), threshold, "there is no dataset")
        for dataset in datasets:
            subject = Subject(name, self.model, dataset)
            found = evidence.evaluation(self.result, self.model, dataset)
            estimate = look(found) if found else None
            if estimate is None:
                reason = why if isinstance(why, str) else why(dataset)
                yield not_measured(subject, threshold, reason if found else NO_ANSWERS)
            else:
                yield compare(subject, estimate, threshold)

    def batches(self, model: str, rule: BatchRule, batch_size: int | None) -> dict[str, BatchSpeed]:
        """By device: batches of that size, or of the fastest; devices without are left out."""
        found = {}
        for device, batches in evidence.batches(self.result, model, rule.device):
            fitting = [b for b in batches if batch_size in (None, b.batch_size)]
            if fitting:
                found[device] = max(fitting, key=lambda b: b.images_per_second)
        return found


def lowest(found: Mapping[str, Estimate], threshold: float, classes: int) -> Estimate | None:
    """The class that misses ``threshold`` most: what is refuted comes before what is not proven.

    Args:
        found: of the classes that are judged, by label.
        threshold: of the rule.
        classes: how many the model has.
    """
    if not found:
        return None
    name = min(found, key=lambda name: (found[name].high >= threshold, found[name].low))
    missing = sum(one.low < threshold for one in found.values()) - 1
    basis = f"{found[name].basis} of {name!r}"
    if missing > 0:
        basis += f", and {missing:,} more classes miss it"
    if len(found) < classes:
        basis += f", {classes - len(found):,} with too few images not judged"
    return found[name].on(basis)
