"""Rules that a model keeps by itself."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer import gate_evidence as evidence
from analyzer.estimate import Estimate
from analyzer.gate_file import (
    Absolute,
    DropAtMost,
    LatencyAtMost,
    NoFindings,
    RecallAtLeast,
    ShareAtLeast,
    ShareAtMost,
    SizeAtMost,
    ThroughputAtLeast,
)
from analyzer.gate_subjects import (
    NO_ROBUSTNESS,
    NO_SCORES,
    NO_SIZE,
    NO_SPEED,
    NO_TRUTH,
    TOO_FEW,
    Case,
    lowest,
)
from analyzer.gate_verdict import (
    Subject,
    at_least,
    at_most,
    megabytes,
    milliseconds,
    not_measured,
    per_second,
)
from analyzer.result import Evaluation, RuleVerdict

_SEVERITIES = ("info", "warning", "error")


def judge_absolute(rules: Absolute, case: Case) -> Iterator[RuleVerdict]:
    """A verdict for each rule on each of its datasets or devices."""
    yield from _unanswered(rules.unanswered, case)
    yield from _unknown_class(rules.unknown_class, case)
    if rules.top1:
        yield from _top(1, rules.top1, case)
    if rules.top5:
        yield from _top(5, rules.top5, case)
    if rules.class_recall:
        yield from _class_recall(rules.class_recall, case)
    if rules.ece:
        yield from _ece(rules.ece, case)
    if rules.robustness_drop:
        yield from _robustness(rules.robustness_drop, case)
    if rules.data_findings:
        yield from _findings(rules.data_findings, case)
    for latency in rules.p99:
        yield from _p99(latency, case)
    for throughput in rules.throughput:
        yield from _throughput(throughput, case)
    if rules.size:
        yield _size(rules.size, case)


def _unanswered(rule: ShareAtMost, case: Case) -> Iterator[RuleVerdict]:
    def look(found: Evaluation) -> Estimate | None:
        return evidence.unanswered(found.accuracy)

    if not case.result.datasets:
        return iter(())
    name, why = "absolute.unanswered", "it has no images"
    return case.on_datasets(name, rule, look, at_most, rule.at_most, why)


def _unknown_class(rule: ShareAtMost, case: Case) -> Iterator[RuleVerdict]:
    def look(found: Evaluation) -> Estimate | None:
        return evidence.unknown_class(found.accuracy)

    if not case.result.datasets:
        return iter(())
    return case.on_datasets("absolute.unknown_class", rule, look, at_most, rule.at_most, "")


def _top(k: int, rule: ShareAtLeast, case: Case) -> Iterator[RuleVerdict]:
    def look(found: Evaluation) -> Estimate | None:
        return evidence.top(found.accuracy, k)

    name = f"absolute.top{k}"
    return case.on_datasets(name, rule, look, at_least, rule.at_least, NO_SCORES)


def _class_recall(rule: RecallAtLeast, case: Case) -> Iterator[RuleVerdict]:
    def look(found: Evaluation) -> Estimate | None:
        recalls = evidence.recalls(found.accuracy, rule.least_images)
        return lowest(recalls, rule.at_least, len(found.accuracy.classes))

    name = "absolute.class_recall"
    return case.on_datasets(name, rule, look, at_least, rule.at_least, TOO_FEW)


def _ece(rule: ShareAtMost, case: Case) -> Iterator[RuleVerdict]:
    def look(found: Evaluation) -> Estimate | None:
        return evidence.ece(found.accuracy)

    return case.on_datasets("absolute.ece", rule, look, at_most, rule.at_most, NO_TRUTH)


def _robustness(rule: DropAtMost, case: Case) -> Iterator[RuleVerdict]:
    def look(found: Evaluation) -> Estimate | None:
        return evidence.robustness_drop(found, rule.of)

    name = "absolute.robustness_drop"
    return case.on_datasets(name, rule, look, at_most, rule.at_most, NO_ROBUSTNESS)


def _findings(rule: NoFindings, case: Case) -> Iterator[RuleVerdict]:
    refused = _SEVERITIES[_SEVERITIES.index(rule.severity) :]

    def look(found: Evaluation) -> Estimate | None:
        findings = evidence.findings(case.result, case.model, found.dataset, refused)
        kinds = f"{' or '.join(refused)} found in the data"
        return Estimate.known(float(len(findings)), ": ".join([kinds, *findings[:1]]))

    return case.on_datasets("absolute.data_findings", rule, look, at_most, 0.0, "")


def _p99(rule: LatencyAtMost, case: Case) -> Iterator[RuleVerdict]:
    subject = Subject("absolute.p99", case.model)
    found = case.batches(case.model, rule, rule.batch_size)
    for device, batches in found.items():
        p99 = evidence.batch_p99(batches, device)
        yield at_most(subject, p99, rule.at_most_s, milliseconds)
    if not found:
        yield not_measured(subject, rule.at_most_s, NO_SPEED)


def _throughput(rule: ThroughputAtLeast, case: Case) -> Iterator[RuleVerdict]:
    subject = Subject("absolute.throughput", case.model)
    found = case.batches(case.model, rule, rule.batch_size)
    for device, batches in found.items():
        throughput = evidence.batch_throughput(batches, device)
        yield at_least(subject, throughput, rule.at_least, per_second)
    if not found:
        yield not_measured(subject, rule.at_least, NO_SPEED)


def _size(rule: SizeAtMost, case: Case) -> RuleVerdict:
    subject = Subject("absolute.size", case.model)
    found = evidence.size(case.result, case.model)
    if found is None:
        return not_measured(subject, float(rule.at_most), NO_SIZE)
    return at_most(subject, found, float(rule.at_most), megabytes)
