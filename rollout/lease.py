"""Who carries a rollout out: one at a time, and another one when it has died."""

from __future__ import annotations

import contextlib
import datetime
import os
import socket
import uuid
from dataclasses import dataclass
from pathlib import Path

from rollout.errors import BusyError, ConflictError, NotFoundError, RolloutError
from rollout.plan import Plan
from rollout.state import Outcome, Phase, State, Wish, begin, read_state
from rollout.transitions import take_over
from rollout.types import Kept, Ledger, Place, Version

# The holder renews every 15 s; whoever has not for a minute has died. Clocks of two machines may be
# so far apart that a living holder is taken for dead: it notices before its next order, and leaves.
LEASE_S = 60.0
RENEW_S = 15.0


def holder_name() -> str:
    """A name for this process, for people, that no other one has."""
    return f"{socket.gethostname()} (process {os.getpid()}, {uuid.uuid4().hex[:6]})"


def this_process() -> str:
    """A mark of this process by which another one on this machine can tell that it has died.

    Empty where the system does not tell (``/proc``).
    """
    with contextlib.suppress(OSError):
        return " ".join((*_machine(), str(os.getpid()), _began(os.getpid())))
    return ""


def held(state: State, now: float) -> bool:
    """Whether somebody carries it out: it has renewed of late, and has not died on this machine."""
    if not state.holder or state.done or now - state.renewed_at >= LEASE_S:
        return False
    return not _has_died(state.process)


def _has_died(process: str) -> bool:
    """Known for sure; of other machines and containers nothing is."""
    try:
        boot, space, number, began = process.split()
        if (boot, space) != _machine():
            return False
        return _began(int(number)) != began
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False


def _machine() -> tuple[str, str]:
    """Its boot, and the container's space of process numbers."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return boot, str(Path("/proc/self/ns/pid").stat().st_ino)


def _began(process: int) -> str:
    """When it was started, in ticks since the boot: numbers of processes are used again."""
    stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    return stat.rpartition(")")[2].split()[19]  # field 22; the name before it may hold anything


@dataclass(frozen=True, slots=True)
class Origin:
    """What a new rollout comes from.

    Attributes:
        run: of a pipeline, which tries again: what ended for it, either way, is not begun anew;
            empty: a person asks, who may begin anew what was aborted.
        against: the version that the candidate was compared with; empty: with none.
        registry: where both stand.
    """

    run: str = ""
    against: str = ""
    registry: str = ""


def take(
    ledger: Ledger,
    place: Place,
    candidate: Version | None,
    plan: Plan,
    holder: str,
    now: float,
    origin: Origin = Origin(),
) -> Kept:
    """Begin a rollout, or go on with one that was left.

    Args:
        ledger: where its state is kept.
        place: where it is to happen.
        candidate: the version; None: go on with what was left, whichever it is.
        plan: of a new one; one that was left goes on by the plan it began with.
        holder: who this is.
        now: seconds of the epoch.
        origin: of a new one.

    Returns:
        The state with ``holder`` as its holder; or a state that is done, if the candidate has been
        promoted before, or has had its end in this run. It may be another version's of which only
        the registry must be told how it ended.

    Raises:
        BusyError: one is under way.
        RolloutError: there is nothing to roll out.
    """
    while True:
        kept = ledger.read()
        state = None if kept is None else read_state(kept.state)
        if kept is not None and state is not None and _over(state, place, candidate, origin.run):
            return kept
        if state is None or state.done:
            state = _new(place, candidate, plan, now, origin)
        else:
            _check_free(state, candidate, now)
        state = take_over(state, holder, now).but(process=this_process(), refused=False)
        try:
            revision = ledger.write(state.text(), None if kept is None else kept.revision)
        except ConflictError:
            continue  # somebody was quicker: look again
        return Kept(state.text(), revision)


def wish(ledger: Ledger, wanted: Wish) -> State:
    """Ask whoever carries the rollout out for something. An abort that was asked for stays.

    Raises:
        NotFoundError: none is under way.
    """
    while True:
        kept = ledger.read()
        state = None if kept is None else read_state(kept.state)
        if kept is None or state is None or state.done:
            raise NotFoundError(f"no rollout is under way: there is nothing to {wanted}")
        if state.wish is Wish.ABORT:
            return state
        state = state.but(wish=wanted)
        try:
            ledger.write(state.text(), kept.revision)
        except ConflictError:
            continue
        return state


def _over(state: State, place: Place, candidate: Version | None, run: str) -> bool:
    """Whether all that is asked for was done before: whoever asks again was killed meanwhile."""
    if not state.done or candidate is None or not state.candidate.names(candidate):
        return False
    if run and state.run == run:
        return True
    return state.outcome is Outcome.PROMOTED and place.stable() == candidate.version


def _new(place: Place, candidate: Version | None, plan: Plan, now: float, origin: Origin) -> State:
    if candidate is None:
        raise NotFoundError("no rollout is under way: name the version to roll out")
    stable = place.stable()
    if stable == candidate.version:
        raise RolloutError(f"{candidate.uri} is what {place.title} serves already")
    if origin.against not in ("", stable):
        raise RolloutError(
            f"{candidate.uri} was compared with version {origin.against}, but {place.title} serves "
            f"version {stable} by now: compare it with that one, then roll it out"
        )
    return begin(candidate, stable, plan, now, run=origin.run, registry=origin.registry)


def _check_free(state: State, candidate: Version | None, now: float) -> None:
    uri, since = state.candidate.uri, _clock(state.started_at)
    if held(state, now):
        raise BusyError(
            f"{uri} is being rolled out by {state.holder} since {since} ({state.where}); "
            "wait for it, or abort it"
        )
    if state.phase is Phase.RECORDING:
        return  # decided and done: it is in nobody's way
    if candidate is not None and not state.candidate.names(candidate):
        raise BusyError(
            f"the rollout of {uri} since {since} was left in {state.where}: start it again to go "
            "on with it, or abort it"
        )


def _clock(at: float) -> str:
    found = datetime.datetime.fromtimestamp(at, datetime.UTC)
    return found.isoformat(sep=" ", timespec="seconds")
