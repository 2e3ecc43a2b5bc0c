"""Rules between a candidate and the champion.

Where both answered the same images they are compared image by image: what both got right or wrong
says nothing of which is better, so far fewer images suffice than for two rates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from analyzer import gate_evidence as evidence
from analyzer.estimate import Estimate
from analyzer.gate_file import (
    DropWorse,
    LatencyRatio,
    RecallWorse,
    Relative,
    SizeRatio,
    ThroughputRatio,
    Worse,
)
from analyzer.gate_subjects import NO_SIZE, NO_SPEED, Case, lowest
from analyzer.gate_verdict import Subject, at_least, at_most, not_measured
from analyzer.result import Evaluation, RuleVerdict

NOT_COMPARED = "it was not compared there with the champion on images of known class"
NOT_BOTH = "it was not measured there for both models"
NO_CHAMPION = "there is no champion to compare with"


def judge_relative(rules: Relative, case: Case) -> Iterator[RuleVerdict]:
    """A verdict for each rule on each of its datasets or devices."""
    asked = rules.model_dump(exclude={"if_no_champion"}, exclude_none=True, exclude_defaults=True)
    if not case.champion:
        return (_without(name, rules, case) for name in asked)
    return _against(rules, case)


def _without(name: str, rules: Relative, case: Case) -> RuleVerdict:
    """The first model of its name, or a champion that was forgotten."""
    subject = Subject(f"relative.{name}", case.model)
    verdict = not_measured(subject, 0.0, NO_CHAMPION)
    if rules.if_no_champion == "fail":
        return verdict
    text = f"{subject.rule} of {case.model}: {NO_CHAMPION}: passed, as if_no_champion says"
    return verdict.model_copy(update={"passed": True, "decided": True, "text": text})


def _against(rules: Relative, case: Case) -> Iterator[RuleVerdict]:
    if rules.top1:
        yield from _top1(rules.top1, case)
    if rules.class_recall:
        yield from _class_recall(rules.class_recall, case)
    if rules.ece:
        yield from _ece(rules.ece, case)
    if rules.robustness_drop:
        yield from _robustness(rules.robustness_drop, case)
    for latency in rules.p99:
        yield from _p99(latency, case)
    for throughput in rules.throughput:
        yield from _throughput(throughput, case)
    if rules.size:
        yield _size(rules.size, case)


def _compared(case: Case, found: Evaluation) -> evidence.Comparison | None:
    return evidence.between(case.result, case.model, case.champion, found.dataset)


def _why(case: Case) -> Callable[[str], str]:
    """Why two models were not compared on a dataset, as whoever tried has put it."""

    def why(dataset: str) -> str:
        found = evidence.uncompared(case.result, case.model, case.champion, dataset)
        return found or NOT_COMPARED

    return why


def _champions(case: Case, found: Evaluation) -> Evaluation | None:
    return evidence.evaluation(case.result, case.champion, found.dataset)


def _top1(rule: Worse, case: Case) -> Iterator[RuleVerdict]:
    def look(found: Evaluation) -> Estimate | None:
        compared = _compared(case, found)
        return compared.every.gain() if compared else None

    worst = -rule.worse_by_at_most
    return case.on_datasets("relative.top1", rule, look, at_least, worst, _why(case))


def _class_recall(rule: RecallWorse, case: Case) -> Iterator[RuleVerdict]:
    worst = -rule.worse_by_at_most

    def look(found: Evaluation) -> Estimate | None:
        compared = _compared(case, found)
        gains = {
            label: pairs.gain()
            for label, pairs in (compared.by_class.items() if compared else ())
            if pairs.images >= rule.least_images
        }
        return lowest(gains, worst, len(found.accuracy.classes))

    name = "relative.class_recall"
    return case.on_datasets(name, rule, look, at_least, worst, _why(case))


def _ece(rule: Worse, case: Case) -> Iterator[RuleVerdict]:
    def look(found: Evaluation) -> Estimate | None:
        champion = _champions(case, found)
        ours = evidence.ece(found.accuracy)
        theirs = evidence.ece(champion.accuracy) if champion else None
        return ours.less(theirs) if ours and theirs else None

    worst = rule.worse_by_at_most
    return case.on_datasets("relative.ece", rule, look, at_most, worst, NOT_BOTH)


def _robustness(rule: DropWorse, case: Case) -> Iterator[RuleVerdict]:
    def look(found: Evaluation) -> Estimate | None:
        champion = _champions(case, found)
        ours = evidence.robustness_drop(found, rule.of)
        theirs = evidence.robustness_drop(champion, rule.of) if champion else None
        return ours.less(theirs) if ours and theirs else None

    name, worst = "relative.robustness_drop", rule.worse_by_at_most
    return case.on_datasets(name, rule, look, at_most, worst, NOT_BOTH)


def _p99(rule: LatencyRatio, case: Case) -> Iterator[RuleVerdict]:
    subject = Subject("relative.p99", case.model)
    ours = case.batches(case.model, rule, rule.batch_size)
    theirs = case.batches(case.champion, rule, rule.batch_size)
    for device, batches in ours.items():
        if device in theirs:
            champion = evidence.batch_p99(theirs[device], device)
            yield at_most(
                subject, evidence.batch_p99(batches, device).over(champion), rule.ratio_at_most
            )
    if not ours.keys() & theirs.keys():
        yield not_measured(subject, rule.ratio_at_most, NO_SPEED)


def _throughput(rule: ThroughputRatio, case: Case) -> Iterator[RuleVerdict]:
    subject = Subject("relative.throughput", case.model)
    ours = case.batches(case.model, rule, rule.batch_size)
    theirs = case.batches(case.champion, rule, rule.batch_size)
    for device, batches in ours.items():
        if device in theirs:
            champion = evidence.batch_throughput(theirs[device], device)
            ratio = evidence.batch_throughput(batches, device).over(champion)
            yield at_least(subject, ratio, rule.ratio_at_least)
    if not ours.keys() & theirs.keys():
        yield not_measured(subject, rule.ratio_at_least, NO_SPEED)


def _size(rule: SizeRatio, case: Case) -> RuleVerdict:
    subject = Subject("relative.size", case.model)
    ours = evidence.size(case.result, case.model)
    theirs = evidence.size(case.result, case.champion)
    if ours is None or theirs is None or not theirs.figure:
        return not_measured(subject, rule.ratio_at_most, NO_SIZE)
    return at_most(subject, Estimate.known(ours.figure / theirs.figure), rule.ratio_at_most)
