"""Carries a rollout out: carry out or look, decide, write, and again, until it is done.

What is decided is written before it is carried out. Whoever finds the written state held by another
one leaves at once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace

from rollout.clock import Time as Time
from rollout.clock import WallTime as WallTime
from rollout.engine import decide
from rollout.errors import BusyError, ConflictError, NotFoundError, RolloutError
from rollout.lease import RENEW_S, Origin, take
from rollout.plan import Plan
from rollout.recent import Recent
from rollout.seen import Counted, Seen
from rollout.state import Event, Phase, State, read_state
from rollout.types import Version
from rollout.work import Parts as Parts
from rollout.work import carry_out, look

LOOK_S = 2.0  # how soon a wish is noticed
_LOG = logging.getLogger(__name__)


def roll_out(
    parts: Parts,
    candidate: Version | None,
    plan: Plan,
    *,
    holder: str,
    clock: Time,
    tell: Callable[[Event], None],
    watch: Callable[[State], None] = lambda _: None,
    run: str = "",
    against: str = "",
) -> State:
    """Begin a rollout, or go on with one that was left, and carry it out.

    Args:
        parts: what it works with.
        candidate: the version; None: go on with what was left.
        plan: of a new one.
        holder: who this is; ``lease.holder_name``.
        clock: the time; when it says to stop, the rollout is left for another one to go on with.
        tell: gets each event once.
        watch: gets the state after every look.
        run: of a pipeline, for which it is; what ended for the same run, promoted or aborted, is
            not begun anew. Empty for a person, who may try once more what was aborted.
        against: the version that the candidate was compared with: where another one is served by
            now, nothing is begun. Empty: with none.

    Returns:
        The last state: done, or left.

    Raises:
        BusyError: another process carries one out, or has taken this one over.
        UnreachableError: nothing could be begun.
        RolloutError: the place or the registry refuses what has been decided; the state is kept.
    """
    origin = Origin(run, against, parts.aliases.address)
    while True:
        kept = take(parts.ledger, parts.place, candidate, plan, holder, clock.now(), origin)
        state = read_state(kept.state)
        if state.done:
            tell(state.events[-1])
            return state
        state = _Loop(parts, holder, clock, tell, watch).run()
        if candidate is None or not state.done or state.candidate.names(candidate):
            return state


class _Loop:
    def __init__(
        self,
        parts: Parts,
        holder: str,
        clock: Time,
        tell: Callable[[Event], None],
        watch: Callable[[State], None],
    ) -> None:
        self._parts = parts
        self._holder = holder
        self._clock = clock
        self._tell = tell
        self._watch = watch
        self._recent = Recent()
        self._last: Event | None = None
        self._state, self._revision = self._kept()
        # Of what was left only what is new is told.
        self._last = self._state.events[-2] if len(self._state.events) > 2 else None
        self._announce()

    def run(self) -> State:
        while not self._state.done:
            before = self._state
            try:
                self._round()
            except (BusyError, NotFoundError):
                raise
            except RolloutError as error:  # of the ledger: what cannot be written is not done
                self._say(f"goes on trying: {error}")
                moved = False
            else:
                moved = _place_of(self._state) != _place_of(before)
            if self._state.refused:
                self._leave()
                raise RolloutError(self._state.trouble)
            if self._wait(0.0 if moved else self._state.plan.interval_s):
                self._leave()
                break
        return self._state

    def _round(self) -> None:
        self._read()
        if self._state.wish is not None and self._state.phase is not Phase.PROMOTING:
            self._settle(Seen())  # while promoting, the place is asked first how far it is
        elif not self._state.applied:
            state = self._state
            self._settle(self._meanwhile(lambda: carry_out(self._parts, state), may_leave=False))
        else:
            state, now = self._state, self._clock.now()
            self._settle(self._meanwhile(lambda: look(self._parts, state, now), may_leave=True))

    def _settle(self, seen: Seen) -> None:
        """Decide and write; if somebody wished for something meanwhile, decide again."""
        seen = self._with_recent(seen)
        while True:
            now = self._clock.now()
            decided = decide(self._state, seen, now).but(renewed_at=now)
            try:
                self._revision = self._parts.ledger.write(decided.text(), self._revision)
            except ConflictError:
                self._read()
                continue
            self._state = decided
            self._announce()
            self._watch(decided)
            return

    def _with_recent(self, seen: Seen) -> Seen:
        """The same, and what requests came to of late."""
        if seen.candidate is None or seen.stable is None:
            return seen
        counted = Counted(seen.candidate, seen.stable)
        self._recent.add(self._clock.now(), self._state.since, counted)
        return replace(seen, recent=self._recent.stretches(self._state.plan.interval_s))

    def _read(self) -> None:
        self._state, self._revision = self._kept()
        self._announce()

    def _kept(self) -> tuple[State, str]:
        kept = self._parts.ledger.read()
        if kept is None:
            raise NotFoundError(
                "the rollout's state was deleted: it is left as it stands; on a cluster "
                "`millrace rollout abort` sends the requests back"
            )
        state = read_state(kept.state)
        if state.holder != self._holder:
            raise BusyError(f"{state.holder or 'somebody'} has taken the rollout over")
        return state, kept.revision

    def _meanwhile(self, work: Callable[[], Seen], *, may_leave: bool) -> Seen:
        """Do it in a thread, and keep the lease meanwhile.

        Args:
            work: what is done.
            may_leave: not to wait for its end when somebody wishes for something or it is to stop.
        """
        future: Future[Seen] = Future()
        threading.Thread(target=_do, args=(work, future), daemon=True).start()
        while True:
            try:
                return future.result(timeout=LOOK_S)
            except TimeoutError:
                if future.done():
                    raise  # the work's own
            self._renew()
            if may_leave and (self._state.wish is not None or self._clock.wait(0.0)):
                return Seen()

    def _wait(self, seconds: float) -> bool:
        """Wait, and keep the lease; ends early for a wish. Whether it is to stop."""
        end = self._clock.now() + seconds
        while not self._clock.wait(max(0.0, min(LOOK_S, end - self._clock.now()))):
            if self._clock.now() >= end:
                return False
            self._renew()
            if self._state.wish is not None:
                return False
        return True

    def _renew(self) -> None:
        """Look for wishes, and say that this one lives; what cannot be had now is had later."""
        try:
            self._read()
            now = self._clock.now()
            if now - self._state.renewed_at < RENEW_S:
                return
            renewed = self._state.but(renewed_at=now)
            self._revision = self._parts.ledger.write(renewed.text(), self._revision)
            self._state = renewed
        except (BusyError, NotFoundError):
            raise
        except RolloutError:
            return

    def _leave(self) -> None:
        """Let another one go on without waiting for the lease to end."""
        now = self._clock.now()
        left = self._state.but(holder="", renewed_at=0.0)
        left = left.tell(now, f"left in {left.where}; start it again to go on")
        try:
            self._parts.ledger.write(left.text(), self._revision)
        except RolloutError:
            return  # the lease ends by itself
        self._state = left
        self._announce()

    def _announce(self) -> None:
        events = self._state.events
        known = events.index(self._last) + 1 if self._last in events else 0
        for event in events[known:]:
            self._tell(event)
        self._last = events[-1]

    def _say(self, text: str) -> None:
        """What cannot be written down now."""
        self._tell(Event(at=self._clock.now(), text=text))


def _place_of(state: State) -> tuple[object, ...]:
    """What has moved if the next look is due at once."""
    return state.phase, state.step, state.ready, state.applied, state.paused


def _do(work: Callable[[], Seen], future: Future[Seen]) -> None:
    try:
        future.set_result(work())
    except Exception as error:  # noqa: BLE001 (all requests go back, whatever it was)
        _LOG.exception("the rollout met what it does not know")
        future.set_result(Seen(refused=f"{type(error).__name__}: {error}"))
    except BaseException as error:  # noqa: BLE001 (whoever waits raises it)
        future.set_exception(error)
