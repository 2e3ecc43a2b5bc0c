"""What a rollout does outside of itself: it carries a state's orders out, or looks."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace

from rollout.aliases import Aliases
from rollout.engine import Order, Verb, orders
from rollout.errors import (
    ConflictError,
    NotFoundError,
    RolloutError,
    UnfinishedError,
    UnreachableError,
)
from rollout.seen import Seen, asks
from rollout.state import Outcome, Phase, State
from rollout.step import proven
from rollout.types import Ledger, Meter, Place, Probe, Readiness, Standing, Traffic

_NOTHING = Traffic(seconds=0.0, requests=0, errors=0, rejected=0, edges_s=(), counts=())


@dataclass(frozen=True, slots=True)
class Parts:
    """What a rollout works with."""

    place: Place
    meter: Meter
    probe: Probe
    ledger: Ledger
    aliases: Aliases


def carry_out(parts: Parts, state: State) -> Seen:
    """Give the orders of a state, all of which may have been given before; what came of it."""
    try:
        for order in orders(state):
            _obey(parts, order, state)
    except UnfinishedError as error:
        return _beside(parts, state, Seen(unfinished=str(error)))
    except (UnreachableError, ConflictError) as error:
        return _beside(parts, state, Seen(unreachable=str(error), undone=_undone(parts, state)))
    except NotFoundError as error:
        if state.phase is not Phase.STEP or not state.ready:
            return Seen(refused=str(error))
        return Seen(readiness=Readiness(Standing.ABSENT, str(error)))
    except RolloutError as error:
        return Seen(refused=str(error))
    return Seen(carried_out=True)


def look(parts: Parts, state: State, now: float) -> Seen:
    """See what must be known to decide in a state whose orders have been carried out."""
    try:
        return _seen(parts, state, now)
    except (UnreachableError, ConflictError) as error:
        return Seen(unreachable=str(error))
    except RolloutError as error:
        return Seen(refused=str(error))


def _obey(parts: Parts, order: Order, state: State) -> None:
    place, candidate = parts.place, state.candidate.version_of
    match order.verb:
        case Verb.LAUNCH:
            place.launch(candidate)
        case Verb.SHARE:
            place.share(candidate, order.percent)
        case Verb.PROMOTE:
            place.promote(candidate)
        case Verb.WITHDRAW:
            place.withdraw(candidate)
        case Verb.RECORD if state.outcome is Outcome.PROMOTED:
            parts.aliases.promoted(candidate)
        case Verb.RECORD:
            parts.aliases.aborted(candidate, state.why)


def _beside(parts: Parts, state: State, seen: Seen) -> Seen:
    """The same, and how the candidate does meanwhile, which has requests already.

    Neither is waited for: how long an order may take is bounded.
    """
    if state.phase not in (Phase.STEP, Phase.PROMOTING) or not state.ready:
        return seen
    with contextlib.suppress(RolloutError):
        seen = replace(seen, readiness=parts.place.readiness(state.candidate.version_of))
    with contextlib.suppress(RolloutError):
        seen = _counted(parts, state, seen)
    return seen


def _undone(parts: Parts, state: State) -> bool:
    """Whether a promotion that the place has not answered has surely not come through.

    A place whose webhook is down tells still what it serves.
    """
    if state.phase is not Phase.PROMOTING:
        return False
    with contextlib.suppress(RolloutError):
        return parts.place.stable() != state.candidate.version
    return False


def _counted(parts: Parts, state: State, seen: Seen) -> Seen:
    """The same, and what requests came to."""
    candidate = parts.meter.traffic(state.candidate.version, state.since)
    try:
        stable = parts.meter.traffic(state.stable, state.since)
    except UnreachableError:
        if not _may_be_gone(state):
            raise
        stable = _NOTHING
    return replace(seen, candidate=candidate, stable=stable)


def _may_be_gone(state: State) -> bool:
    """Whether the stable version need not be there: Knative stops pods that are asked nothing."""
    if state.phase is Phase.PROMOTING:
        return True
    return state.phase is Phase.STEP and state.applied and state.share_set >= 100


def _seen(parts: Parts, state: State, now: float) -> Seen:
    place, probe = parts.place, parts.probe
    candidate, asked = state.candidate.version_of, asks(state)
    seen = Seen(readiness=place.readiness(candidate) if asked.readiness else None)
    if seen.readiness is None or seen.readiness.standing is not Standing.READY:
        return seen
    if not state.ready:
        return seen  # from now on it is judged
    if asked.golden:
        return replace(seen, golden=probe.golden(place.direct(candidate.version)))
    if asked.agreement:
        stable = place.direct(state.stable)
        return replace(seen, agreement=probe.shadow(stable, place.direct(candidate.version)))
    if asked.traffic:
        seen = _counted(parts, state, seen)
    if asked.golden_after and proven(state, seen, now):
        seen = replace(seen, golden=probe.golden(place.direct(candidate.version)))
    return seen
