"""What a rollout must look at in its present phase, and what it saw there."""

from __future__ import annotations

from dataclasses import dataclass

from rollout.state import Phase, State
from rollout.types import Agreement, Golden, Readiness, Traffic


@dataclass(frozen=True, slots=True)
class Counted:
    """What the requests to both versions came to, over one stretch of time."""

    candidate: Traffic
    stable: Traffic


@dataclass(frozen=True, slots=True)
class Seen:
    """One look; None is what was not looked at.

    Attributes:
        carried_out: the phase's orders were.
        refused: why the place will not do or tell what it was asked; trying again is no use.
        unfinished: what the orders wait for; to be carried out again.
        unreachable: why nothing could be seen or done; it may be later.
        undone: though it is unreachable, a promotion is known not to have come through.
        readiness: of the candidate.
        golden: of the candidate alone.
        agreement: of both versions.
        candidate: its requests since the step began.
        stable: the same of the stable version.
        recent: what of that came of late, and in the time just before; empty: too little for both.
    """

    carried_out: bool = False
    refused: str = ""
    unfinished: str = ""
    unreachable: str = ""
    undone: bool = False
    readiness: Readiness | None = None
    golden: Golden | None = None
    agreement: Agreement | None = None
    candidate: Traffic | None = None
    stable: Traffic | None = None
    recent: tuple[Counted, ...] = ()


@dataclass(frozen=True, slots=True)
class Asks:
    """What the next look is about.

    ``golden`` and ``agreement`` take many requests and wait until the candidate is ready;
    ``golden_after`` waits until all else of the step is proven, since the images that it asks about
    would count as the candidate's share.
    """

    readiness: bool = False
    golden: bool = False
    agreement: bool = False
    traffic: bool = False
    golden_after: bool = False


def asks(state: State) -> Asks:
    """What must be known to decide."""
    if state.phase is Phase.DARK:
        return Asks(readiness=True, golden=state.plan.dark.golden is not None and not state.paused)
    if state.phase is Phase.SHADOW:
        return Asks(readiness=True, agreement=not state.paused)
    if state.phase is Phase.STEP:
        golden = state.plan.limits.golden is not None and not state.paused
        return Asks(readiness=True, traffic=state.ready, golden_after=golden)
    return Asks()
