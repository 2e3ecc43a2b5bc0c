"""What a pod that has been injured for a while must have kept to."""

from __future__ import annotations

from collections import Counter

from benchmarks.census import Census, Resident
from benchmarks.errors import BenchmarkError
from benchmarks.page import Finding
from benchmarks.soak import FULL_ASKS, SLOTS, Outcome, more
from benchmarks.witness import BROKEN, EXCUSED, REFUSED, WRONG
from predictor.metric_files import ADDED_UP

REASONS = ("not_ready", "queue_full", "deadline")  # for which a pod that is injured may refuse
# Most that memory may grow: of the supervisor, which lives through all of it, and of the others
# against those of about the same age before, which had other requests.
SUPERVISOR_GROWTH, GROWTH = 1.10, 1.25
OTHERS = ("frontend", "instance")


def wanted(outcome: Outcome) -> list[Finding]:
    """What is to hold after any number of faults, and whether it does."""
    requests, found = outcome.requests, more(outcome.before, outcome.after)
    lost, excused = requests[BROKEN] + requests[WRONG] + requests[REFUSED], requests[EXCUSED]
    files = [at.metric_files for at in (outcome.before, outcome.after)]
    struck = {
        kind: outcome.done[f"kill {kind}"] + outcome.done[f"stop {kind}"]
        for kind in outcome.restarts
    }
    return [
        Finding(
            "every request that a living frontend took is answered, and rightly",
            f"{lost} of {requests.total() - excused:,} were not ({excused} more were at a frontend "
            "that was killed)",
            lost == 0,
        ),
        Finding(
            "nothing fails, and nothing is refused but for reasons that the pod counts",
            ", ".join(f"{count} times {what}" for what, count in unexplained(outcome).items())
            or f"{requests['503']} times 503 and {requests['504']} times 504, all counted",
            not unexplained(outcome),
        ),
        Finding(
            "an image at which the runtime fails is told so",
            text_of(outcome.told) or "none was sent",
            all(told.endswith(("500", "503", "lost")) for told in outcome.told),
        ),
        Finding(
            "restarts as the pod counts them are the faults",
            "; ".join(
                f"{kind}s {outcome.restarts[kind]} of {struck[kind]}" for kind in outcome.restarts
            ),
            outcome.restarts == struck,
        ),
        Finding(
            "readiness tells the truth",
            f"{outcome.lies.total()} of {outcome.probes:,} times it did not"
            + (f" ({text_of(outcome.lies)})" if outcome.lies else ""),
            not outcome.lies,
        ),
        Finding(
            "no slot is lost",
            f"{outcome.full_answers} of {FULL_ASKS} requests that need all {SLOTS} were answered",
            outcome.full_answers == FULL_ASKS,
        ),
        Finding(
            "no process and no descriptor is left over",
            ", ".join(f"{count} more: {what}" for what, count in found.items()) or "none",
            not found and outcome.after.processes == outcome.before.processes,
        ),
        Finding(
            "what dead processes counted does not pile up",
            f"{files[0]} → {files[1]} files, {len(ADDED_UP)} of them of all the dead",
            files[1] <= files[0] + len(ADDED_UP),
        ),
        *_memory_findings(outcome.before, outcome.after),
        Finding(
            "stopped processes are noticed",
            "; ".join(f"{count} times {what}" for what, count in _unnoticed(outcome).items())
            or "all",
            not _unnoticed(outcome),
        ),
    ]


def unexplained(outcome: Outcome) -> Counter[str]:
    """Answers that were errors without a reason: by status, how many."""
    requests = outcome.requests
    explained = {
        "200": requests["200"],
        "503": sum(outcome.rejected[reason] for reason in REASONS),
        "504": outcome.expired,
    }
    statuses = [status for status in requests if status.isdigit()]
    return +Counter({status: requests[status] - explained.get(status, 0) for status in statuses})


def _memory_findings(before: Census, after: Census) -> list[Finding]:
    found = []
    for kind, growth in (("supervisor", SUPERVISOR_GROWTH), *((k, GROWTH) for k in OTHERS)):
        then, now = closest(_those(before, kind), _those(after, kind))
        ages = "" if kind == "supervisor" else f" ({then.age_s:.0f} and {now.age_s:.0f} s old)"
        found.append(
            Finding(
                f"memory per {kind} grows by no more than {growth - 1:.0%}",
                f"{then.own_mib:.1f} → {now.own_mib:.1f} MiB{ages}",
                now.own_mib <= growth * then.own_mib,
            )
        )
    return found


def closest(before: list[Resident], after: list[Resident]) -> tuple[Resident, Resident]:
    """One before and one after whose ages differ least: memory grows in a process's first minute.

    Raises:
        BenchmarkError: there is none.
    """
    pairs = [(then, now) for then in before for now in after]
    if not pairs:
        raise BenchmarkError("a process is missing from the pod")
    return min(pairs, key=lambda pair: abs(pair[0].age_s - pair[1].age_s))


def _those(at: Census, kind: str) -> list[Resident]:
    return [each for each in at.resident if kind in each.title]


def _unnoticed(outcome: Outcome) -> Counter[str]:
    return Counter(detail for detail in outcome.details if detail.endswith("not noticed"))


def text_of(counts: Counter[str]) -> str:
    """As a reader of the results sees them."""
    return ", ".join(f"{what}: {count:,}" for what, count in sorted(counts.items()))
