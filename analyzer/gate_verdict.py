"""The judging of one rule: an estimate against a threshold. It knows no files and no models.

A rule passes when the bound of the estimate's 95 % interval keeps the threshold: a model that
misses it passes in 2.5 % of samples at most. Where only the figure keeps it the rule does not
pass, and the verdict says that more of the same could decide.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from analyzer.estimate import Estimate
from analyzer.result import RuleVerdict

_MOST_TIMES = 100  # as much again; beyond that, no number helps


@dataclass(frozen=True, slots=True)
class Subject:
    """What a rule is about.

    Attributes:
        rule: its place in gate.yaml, ``absolute.top1``.
        model: whom it judges.
        dataset: on what; None for rules about files and speed.
    """

    rule: str
    model: str
    dataset: str | None = None


def number(value: float) -> str:
    """A share or a ratio."""
    return f"{round(value, 4) or 0:.4g}"


def milliseconds(value: float) -> str:
    """Seconds as they are read."""
    return f"{value * 1e3:.4g} ms"


def per_second(value: float) -> str:
    """Images per second."""
    return f"{value:,.1f} images/s"


def megabytes(value: float) -> str:
    """Bytes as they are read."""
    return f"{value / 1e6:,.1f} MB"


def at_least(
    subject: Subject, found: Estimate, threshold: float, show: Callable[[float], str] = number
) -> RuleVerdict:
    """Pass if even the lower bound is ``threshold`` or more."""
    refuted = found.high < threshold
    bar = _Bar(threshold, found.figure - threshold, "more", show)
    return _verdict(subject, found, found.low, bar, found.low >= threshold, refuted)


def at_most(
    subject: Subject, found: Estimate, threshold: float, show: Callable[[float], str] = number
) -> RuleVerdict:
    """Pass if even the upper bound is ``threshold`` or less."""
    refuted = found.low > threshold
    bar = _Bar(threshold, threshold - found.figure, "less", show)
    return _verdict(subject, found, found.high, bar, found.high <= threshold, refuted)


def not_measured(subject: Subject, threshold: float, why: str) -> RuleVerdict:
    """What nothing is known of does not pass."""
    return RuleVerdict(
        rule=subject.rule,
        model=subject.model,
        dataset=subject.dataset,
        passed=False,
        figure=None,
        bound=None,
        threshold=threshold,
        text=f"{_about(subject)}: not measured: {why}",
        decided=False,
    )


@dataclass(frozen=True, slots=True)
class _Bar:
    """A threshold, by how much the figure keeps it, on which side it must lie, how it is shown."""

    threshold: float
    margin: float
    side: str
    show: Callable[[float], str]


def _verdict(
    subject: Subject, found: Estimate, bound: float, bar: _Bar, passed: bool, refuted: bool
) -> RuleVerdict:
    outcome = "passed" if passed else "failed" if refuted else "not proven"
    if not passed and not refuted:
        outcome += _what_it_takes(abs(found.figure - bound), bar.margin)
    return RuleVerdict(
        rule=subject.rule,
        model=subject.model,
        dataset=subject.dataset,
        passed=passed,
        figure=found.figure if math.isfinite(found.figure) else None,
        bound=bound if math.isfinite(bound) else None,
        threshold=bar.threshold,
        text=f"{_about(subject)}: {_said(found, bound, bar)}: {outcome}",
        decided=passed or refuted,
    )


def _about(subject: Subject) -> str:
    place = f" on {subject.dataset}" if subject.dataset else ""
    return f"{subject.rule} of {subject.model}{place}"


def _said(found: Estimate, bound: float, bar: _Bar) -> str:
    said = bar.show(found.figure) + (f" ({found.basis})" if found.basis else "")
    if not math.isfinite(bound):
        said += ", too few to bound it"
    elif bound != found.figure:
        said += f", surely {bar.show(bound)} or {bar.side}"
    return f"{said}; {bar.show(bar.threshold)} or {bar.side} is asked"


def _what_it_takes(half: float, margin: float) -> str:
    """Intervals shrink with the root of the sample."""
    if margin <= 0 or not half <= margin * math.sqrt(_MOST_TIMES):
        return ""
    return f"; about {(half / margin) ** 2:.2g} times as many would do if they are like these"
