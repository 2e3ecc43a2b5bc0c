"""A place in memory that behaves: two versions, requests that are shared out, a clock that jumps.

It is slow to start, loses what it is made to lose, can be out of reach or refuse, and can kill
whoever calls it at any call. Its methods are those of the contracts in
rollout/types.py, rollout/aliases.py and rollout/run.py.
"""

# ruff: noqa: D102

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from rollout.errors import (
    ConflictError,
    NotFoundError,
    RolloutError,
    UnfinishedError,
    UnreachableError,
)
from rollout.plan import Plan
from rollout.run import Parts
from rollout.types import (
    Agreement,
    Golden,
    Kept,
    Readiness,
    Route,
    Standing,
    Traffic,
    Version,
)

EDGES_S = (0.01, 0.02, 0.04, 0.08, 0.16, math.inf)
STABLE, CANDIDATE = "1", "2"
VERSION = Version("digits", CANDIDATE, f"models:/digits/{CANDIDATE}")
START = 1_800_000_000.0


class KilledError(BaseException):
    """``kill -9``: nothing of the process runs after it."""


@dataclass(frozen=True)
class Quality:
    """How a version does: shares of its requests, and what its answers take."""

    errors: float = 0.0
    rejected: float = 0.0
    latency_s: float = 0.015
    accuracy: float = 1.0
    agreement: float = 1.0


@dataclass
class World:
    """The place, the meter, the probe, the ledger, the registry and the time, all of one world.

    Attributes:
        rate: public requests per second.
        starts_s: what the candidate takes to become ready.
        deaf: the share that is set has no effect, as with a controller that does not weigh.
        gets: the share that the candidate gets whatever is set; None: what is set.
        fails: why the candidate will never become ready; empty: it may.
        out_of_reach: names of the parts that do not answer.
        refuses: calls that are refused.
        calls: what the place and the registry were told, in order.
        takes: how often an order must be given until it is through.
        kill_at: the number of the call at which the caller dies, before it if ``kill_before``.
    """

    rate: float = 100.0
    stable_does: Quality = Quality()
    candidate_does: Quality = Quality()
    starts_s: float = 15.0
    never_ready: bool = False
    deaf: bool = False
    gets: float | None = None
    fails: str = ""
    golden_images: int = 500
    out_of_reach: set[str] = field(default_factory=set)
    refuses: set[str] = field(default_factory=set)
    kill_at: int = -1
    kill_before: bool = True
    takes: int = 1

    def __post_init__(self) -> None:
        self.clock = START
        self.served = STABLE
        self.launched_at: float | None = None
        self.percent = 0
        self.ever: list[int] = [0]
        self.counted: list[tuple[float, str, float]] = []  # second's end, version, requests
        self.calls: list[str] = []
        self.alias = {"champion": STABLE, "challenger": CANDIDATE}
        self.tag = ""
        self.kept: Kept | None = None
        self.number = self.given = 0
        self.stopping = False
        self.at = {}  # what happens when: seconds since the start -> callable

    # -- what may go wrong at every call

    def _call(self, part: str, name: str, effect):
        self.number += 1
        if self.number == self.kill_at and self.kill_before:
            raise KilledError
        if part in self.out_of_reach:
            raise UnreachableError(f"the {part} does not answer")
        if name in self.refuses:
            raise RolloutError(f"{name} is refused")
        if name in ("share", "promote", "withdraw"):
            self.given += 1
            if self.given % self.takes:
                raise UnfinishedError(f"{self.given} pods are being replaced")
        result = effect()
        if self.number == self.kill_at:
            raise KilledError
        return result

    # -- time

    def now(self) -> float:
        return self.clock

    def wait(self, seconds: float) -> bool:
        """Time passes in seconds, and requests with it."""
        end = self.clock + seconds
        while self.clock < end and not self.stopping:
            taken = min(1.0, end - self.clock)
            self.clock += taken
            share = self.percent / 100 if self.gets is None or not self.percent else self.gets
            share = 0.0 if self.deaf or not self._ready() else share
            self.counted.append((self.clock, CANDIDATE, self.rate * taken * share))
            self.counted.append((self.clock, STABLE, self.rate * taken * (1 - share)))
            for due in [each for each in self.at if START + each <= self.clock]:
                self.at.pop(due)()
        return self.stopping

    def _ready(self) -> bool:
        if self.launched_at is None or self.never_ready:
            return False
        return self.clock - self.launched_at >= self.starts_s

    # -- Place

    title = "a world in memory"
    address = "sqlite:///registry.db"

    def stable(self) -> str:
        return self._call("place", "stable", lambda: self.served)

    def launch(self, candidate: Version) -> None:
        def effect():
            self.calls.append("launch")
            if self.launched_at is None:
                self.launched_at = self.clock

        self._call("place", "launch", effect)

    def readiness(self, candidate: Version) -> Readiness:
        def effect():
            if self.launched_at is None:
                return Readiness(Standing.ABSENT)
            if self.fails:
                return Readiness(Standing.FAILED, self.fails)
            if self._ready():
                return Readiness(Standing.READY)
            return Readiness(Standing.STARTING, "0 of 1 pods")

        return self._call("place", "readiness", effect)

    def share(self, candidate: Version, percent: int) -> None:
        def effect():
            if self.launched_at is None:
                raise NotFoundError("there is no version 2")
            self.calls.append(f"share {percent}")
            self.percent = percent
            self.ever.append(percent)

        self._call("place", "share", effect)

    def promote(self, candidate: Version) -> None:
        def effect():
            self.calls.append("promote")
            self.served, self.percent = candidate.version, 100

        self._call("place", "promote", effect)

    def withdraw(self, candidate: Version) -> None:
        def effect():
            self.calls.append("withdraw")
            self.percent, self.launched_at = 0, None

        self._call("place", "withdraw", effect)

    def public(self) -> Route:
        return Route("http://public")

    def direct(self, version: str) -> Route:
        return Route(f"http://{version}")

    def lose_the_candidate(self) -> None:
        """As when the pod is started again."""
        self.launched_at, self.percent = None, 0

    # -- Meter

    def traffic(self, version: str, since: float) -> Traffic:
        return self._call("meter", "traffic", lambda: self._traffic(version, since))

    def _traffic(self, version: str, since: float) -> Traffic:
        does = self.candidate_does if version == CANDIDATE else self.stable_does
        total = sum(n for at, whose, n in self.counted if whose == version and at > since)
        requests = round(total)
        errors, rejected = round(requests * does.errors), round(requests * does.rejected)
        counts = [0] * len(EDGES_S)
        slot = next(i for i, edge in enumerate(EDGES_S) if does.latency_s <= edge)
        counts[slot] = requests - errors - rejected
        return Traffic(self.clock - since, requests, errors, rejected, EDGES_S, tuple(counts))

    # -- Probe

    def golden(self, route: Route) -> Golden:
        def effect():
            right = round(self.golden_images * self._asked(route).accuracy)
            return Golden(self.golden_images, self.golden_images, right)

        return self._call("probe", "golden", effect)

    def shadow(self, stable: Route, candidate: Route) -> Agreement:
        def effect():
            same = round(self.golden_images * self._asked(candidate).agreement)
            return Agreement(self.golden_images, same, 0)

        return self._call("probe", "shadow", effect)

    def _asked(self, route: Route) -> Quality:
        return self.candidate_does if route.url.endswith(CANDIDATE) else self.stable_does

    # -- Ledger

    def read(self) -> Kept | None:
        return self._call("ledger", "read", lambda: self.kept)

    def write(self, state: str, revision: str | None) -> str:
        def effect():
            if revision != (self.kept.revision if self.kept else None):
                raise ConflictError("somebody else wrote meanwhile")
            self.kept = Kept(state, str(int(revision or 0) + 1))
            return self.kept.revision

        return self._call("ledger", "write", effect)

    # -- Aliases

    def promoted(self, candidate: Version) -> None:
        def effect():
            self.calls.append("promoted")
            if self.alias["champion"] != candidate.version:
                self.alias["previous"] = self.alias["champion"]
            self.alias["champion"] = candidate.version
            self.alias.pop("challenger", None)
            self.tag = "promoted"

        self._call("registry", "promoted", effect)

    def aborted(self, candidate: Version, why: str) -> None:
        def effect():
            self.calls.append("aborted")
            self.alias.pop("challenger", None)
            self.tag = f"aborted: {why}"

        self._call("registry", "aborted", effect)

    # -- what tests ask for

    @property
    def parts(self) -> Parts:
        """Everything a rollout works with."""
        return Parts(place=self, meter=self, probe=self, ledger=self, aliases=self)

    def end(self) -> tuple[object, ...]:
        """What is left when all is over."""
        return self.served, self.percent, tuple(sorted(self.alias.items())), self.tag


def plan(**changes) -> Plan:
    """Two steps and quick ones."""
    content = {
        "steps": [
            {"percent": 10, "hold_s": 60, "least_requests": 400},
            {"percent": 100, "hold_s": 60, "least_requests": 400},
        ],
        "failure_limit": 0,
    }
    return Plan.model_validate(content | changes)


def slower(quality: Quality, latency_s: float) -> Quality:
    """The same, but it takes so long."""
    return replace(quality, latency_s=latency_s)
