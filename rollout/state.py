"""What is known of a rollout: one JSON text, from which a killed one goes on where it was."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import pydantic

from analyzer.result import Part, RuleVerdict
from rollout.errors import RolloutError
from rollout.plan import Plan
from rollout.types import Version

MOST_EVENTS = 100  # the newest are kept: a ConfigMap holds 1 MiB
MOST_TEXT = 600  # characters of an event


class Phase(StrEnum):
    """Where a rollout is; docs/rollout.md has the picture."""

    DARK = "dark"
    SHADOW = "shadow"
    STEP = "step"
    PROMOTING = "promoting"  # the place is told
    ABORTING = "aborting"  # the place is told
    RECORDING = "recording"  # the registry is told
    DONE = "done"


class Outcome(StrEnum):
    """How it ends."""

    PROMOTED = "promoted"
    ABORTED = "aborted"


class Wish(StrEnum):
    """What another process asks of the one that carries the rollout out."""

    PAUSE = "pause"
    RESUME = "resume"
    PROMOTE = "promote"
    ABORT = "abort"


class Event(Part):
    """Something that happened.

    Attributes:
        at: seconds of the epoch.
        text: one line for people.
    """

    at: float
    text: str


class Candidate(Part):
    """``rollout.types.Version``, as it is kept."""

    name: str
    version: str
    uri: str

    @property
    def version_of(self) -> Version:
        """The same for a Place."""
        return Version(self.name, self.version, self.uri)

    def names(self, version: Version | None) -> bool:
        """Whether it is that version: of that registered model, since all count from one."""
        return version is not None and (version.name, version.version) == (self.name, self.version)


class State(Part):
    """All of it. Only the holder writes it; others may write ``wish`` and nothing else.

    Attributes:
        candidate: the version that is rolled out.
        stable: the version that was served when it began.
        run: of a pipeline, for which it was begun; empty: a person began it.
        registry: its tracking URI, without a name and password; empty: it has none.
        plan: as it was given at the start; a file that changes meanwhile changes nothing.
        phase: see there.
        step: which of the plan's, from 0.
        applied: whether the phase's orders have been carried out.
        ready: whether the candidate has been seen ready since it was launched last.
        since: when what is judged now began: the orders were carried out, or it was resumed;
            seconds of the epoch, as all times here.
        started_at: when the rollout began.
        moved_at: when what an order waits for changed last; 0: it has not.
        share_set: percent that the candidate was last told to get.
        share_seen: share of the requests that it really got, of those since ``since``.
        paused: it judges no success; failures it does.
        refused: the place has refused the last order, and nothing was changed by it.
        wish: see Wish; None: nobody asks for anything.
        holder: who carries it out; empty: nobody.
        process: the mark of its process, as ``lease.this_process`` gives it.
        renewed_at: when the holder last said that it lives.
        failures: looks of this step at which a limit was surely missed.
        inconclusive: looks of this phase or step at which nothing was proven.
        verdicts: of the last look.
        blind_since: since when nothing can be seen or done; None: it can.
        trouble: why; empty: it can.
        outcome: how it ends; None: that is open.
        why: it was aborted.
        events: the newest last.
    """

    format: Literal[1] = 1
    candidate: Candidate
    stable: str
    plan: Plan
    started_at: float
    since: float
    run: str = ""
    registry: str = ""
    phase: Phase = Phase.DARK
    step: int = 0
    applied: bool = False
    ready: bool = False
    moved_at: float = 0.0
    share_set: int = 0
    share_seen: float | None = None
    paused: bool = False
    refused: bool = False
    wish: Wish | None = None
    holder: str = ""
    process: str = ""
    renewed_at: float = 0.0
    failures: int = 0
    inconclusive: int = 0
    verdicts: tuple[RuleVerdict, ...] = ()
    blind_since: float | None = None
    trouble: str = ""
    outcome: Outcome | None = None
    why: str = ""
    events: tuple[Event, ...] = ()

    @property
    def done(self) -> bool:
        """Whether there is nothing left to do."""
        return self.phase is Phase.DONE

    @property
    def where(self) -> str:
        """The phase in words: ``step 2 of 4: 25 %``."""
        if self.phase is not Phase.STEP:
            return str(self.phase)
        steps = self.plan.steps
        return f"step {self.step + 1} of {len(steps)}: {steps[self.step].percent} %"

    def but(self, **changes: object) -> State:
        """The same with some fields changed."""
        return self.model_copy(update=changes)

    def tell(self, now: float, text: str) -> State:
        """The same with one more event."""
        said = text if len(text) <= MOST_TEXT else text[: MOST_TEXT - 1] + "…"
        return self.but(events=(*self.events, Event(at=now, text=said))[-MOST_EVENTS:])

    def text(self) -> str:
        """As it is kept."""
        return self.model_dump_json()


def begin(
    candidate: Version,
    stable: str,
    plan: Plan,
    now: float,
    *,
    run: str = "",
    registry: str = "",
) -> State:
    """A rollout that has done nothing yet."""
    state = State(
        candidate=Candidate(name=candidate.name, version=candidate.version, uri=candidate.uri),
        stable=stable,
        plan=plan,
        started_at=now,
        since=now,
        run=run,
        registry=registry,
    )
    return state.tell(now, f"{candidate.uri} is to replace version {stable}")


def read_state(text: str) -> State:
    """What ``State.text`` gave.

    Raises:
        RolloutError: it is none, or a newer Millrace's.
    """
    try:
        return State.model_validate_json(text)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RolloutError(
            f"the rollout's state cannot be read ({where}: {first['msg']}): it is another "
            "Millrace's, or damaged; end it with the one that began it, or delete it and let "
            "`millrace rollout abort` send the requests back"
        ) from error
