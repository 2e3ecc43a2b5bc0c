"""From counts to verdicts, by the analyzer's gate: bounds are compared, not figures."""

from __future__ import annotations

import math

from analyzer.estimate import Estimate
from analyzer.gate_verdict import Subject, at_least, at_most, milliseconds
from analyzer.result import RuleVerdict
from rollout.plan import P99, Limits
from rollout.types import Agreement, Golden, Traffic

_P99 = 0.99
_ALL = 100  # percent
# Two versions are scraped at two times: at first one may have been counted for half as long.
_AS_LONG = 0.8


def golden(model: str, found: Golden, threshold: float) -> RuleVerdict:
    """Images that were answered rightly, of all that were asked about."""
    return at_least(Subject("golden", model), Estimate.share(found.right, found.asked), threshold)


def agreement(model: str, found: Agreement, threshold: float) -> RuleVerdict:
    """Images whose first class is the stable version's, of all that that one answered."""
    of = found.compared + found.unanswered
    return at_least(Subject("agreement", model), Estimate.share(found.same, of), threshold)


def share(
    model: str, candidate: Traffic, stable: Traffic, percent: int, tolerance: float
) -> RuleVerdict:
    """Whether the candidate gets the share of the requests that was set.

    Where one version was counted for longer than the other, as by up to an interval of Prometheus'
    scraping, it must have that much more. Of versions that were not both counted for a while
    nothing can be said, except at 100 %, where the stable one may have gone.

    Args:
        model: whom it is about.
        candidate: its requests.
        stable: the other version's.
        percent: that was set.
        tolerance: by how much the share may differ; no more than half of what is due is used, so
            that a candidate that gets nothing is always noticed.
    """
    subject = Subject("share", model)
    found = Estimate.share(candidate.requests, candidate.requests + stable.requests)
    if not candidate.seconds or (percent < _ALL and not stable.seconds):
        return at_least(subject, Estimate.share(0, 0), percent / _ALL, _percent)
    wanted = _due(candidate, stable, percent)
    off = min(tolerance, wanted / 2)
    verdicts = (
        at_least(subject, found, wanted - off, _percent),
        at_most(subject, found, min(wanted + off, 1.0), _percent),
    )
    return next((each for each in verdicts if not each.passed), verdicts[0])


def exceeded(candidate: Traffic, stable: Traffic, percent: int, tolerance: float) -> bool:
    """Whether the candidate surely gets more than was set: whoever set it does not rule.

    For how long pods that come and go were counted is known to a scrape or so. That must not look
    like requests that went the wrong way, so it takes twice the tolerance, and by either way of
    reckoning: with the seconds, and as if both versions had been counted for as long.
    """
    if not candidate.seconds or stable.seconds < _AS_LONG * candidate.seconds:
        return False
    wanted = max(_due(candidate, stable, percent), percent / _ALL)
    found = Estimate.share(candidate.requests, candidate.requests + stable.requests)
    return found.low > wanted + 2 * min(tolerance, wanted / 2)


def _due(candidate: Traffic, stable: Traffic, percent: int) -> float:
    """The candidate's share of what was counted, if the share that was set is what it gets."""
    due = percent * candidate.seconds
    return due / (due + (_ALL - percent) * stable.seconds)


def traffic(
    model: str, limits: Limits, candidate: Traffic, stable: Traffic
) -> tuple[RuleVerdict, ...]:
    """What the candidate's requests came to, against each limit.

    The ratio to the stable version is not judged where that one answered nothing, as at 100 %.
    """
    verdicts = []
    if limits.errors is not None:
        errors = Estimate.share(candidate.errors, candidate.requests)
        verdicts.append(at_most(Subject("errors", model), errors, limits.errors.at_most))
    if limits.rejected is not None:
        rejected = Estimate.share(candidate.rejected, candidate.requests)
        verdicts.append(at_most(Subject("rejected", model), rejected, limits.rejected.at_most))
    if limits.p99 is not None:
        verdicts += _latency(model, limits.p99, candidate, stable)
    return tuple(verdicts)


def _latency(model: str, limit: P99, candidate: Traffic, stable: Traffic) -> list[RuleVerdict]:
    verdicts = []
    found = _p99(candidate)
    if limit.at_most_s is not None:
        verdicts.append(at_most(Subject("p99", model), found, limit.at_most_s, milliseconds))
    if limit.ratio_at_most is not None and any(stable.counts):
        ratio = _ratio(found, _p99(stable))
        verdicts.append(at_most(Subject("p99_ratio", model), ratio, limit.ratio_at_most))
    return verdicts


_NOTHING = Estimate(0.0, 0.0, math.inf, "0 values")


def _ratio(found: Estimate, other: Estimate) -> Estimate:
    if found.figure > 0 and math.isfinite(found.figure) and math.isfinite(other.figure):
        return found.over(other)
    # Beyond the last bucket only the outer bounds are known.
    surely = found.low / other.high if math.isfinite(other.high) else 0.0
    return Estimate(found.figure, surely, math.inf, found.basis)


def _p99(found: Traffic) -> Estimate:
    if not sum(found.counts):
        return _NOTHING
    return Estimate.quantile_of_buckets(found.edges_s, found.counts, _P99)


def _percent(value: float) -> str:
    return f"{value * 100:.3g} %"
