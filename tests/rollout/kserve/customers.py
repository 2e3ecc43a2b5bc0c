"""Customers of a model on a cluster, who go where its routes lead, and what is counted of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from rollout.kserve.ledger import ConfigMapLedger
from rollout.plan import Plan
from rollout.run import Parts
from rollout.types import Agreement, Golden, Place, Route, Traffic, Version
from tests.rollout.kserve.objects import NAME
from tests.rollout.kserve.rig import Rig
from tests.rollout.world import Quality

EDGES_S = (0.01, 0.02, 0.04, 0.08, 0.16, math.inf)
START = 1_800_000_000.0
PLAN = Plan.model_validate(
    {
        "dark": {"golden": {"dataset": "golden", "at_least": 0.9}},
        "shadow": {"dataset": "replay", "at_least": 0.8},
        "steps": [
            {"percent": 10, "hold_s": 60, "least_requests": 400},
            {"percent": 100, "hold_s": 60, "least_requests": 400},
        ],
    }
)


@dataclass
class Customers:
    """The clock that jumps, with a hundred requests a second; Meter, Probe and aliases in one.

    Attributes:
        rig: where they go.
        candidate_does: how version 4 does.
        lost: requests that found no pod.
        at: what happens so many seconds after the start.
    """

    rig: Rig
    candidate_does: Quality = field(default_factory=Quality)
    lost: float = 0.0
    stopping: bool = False
    at: dict[float, Callable[[], None]] = field(default_factory=dict)
    clock: float = START
    recorded: list[str] = field(default_factory=list)
    ever: list[int] = field(default_factory=list)
    counted: list[tuple[float, str, float]] = field(default_factory=list)

    def parts(self, place: Place) -> Parts:
        """All that a rollout works with."""
        ledger = ConfigMapLedger(self.rig.client, NAME)
        return Parts(place=place, meter=self, probe=self, ledger=ledger, aliases=self)

    # The clock.

    def now(self) -> float:
        """Seconds of the epoch."""
        return self.clock

    def wait(self, seconds: float) -> bool:
        """Time passes, and customers come."""
        self.rig.controller.settle()
        self._come(seconds)
        for due in [each for each in self.at if START + each <= self.clock]:
            self.at.pop(due)()
        return self.stopping

    def _come(self, seconds: float) -> None:
        self.clock += seconds
        shares = self.rig.shares()
        self.ever.append(shares.get("4", 0))
        for version, percent in shares.items():
            if version not in ("3", "4"):
                self.lost += seconds * percent
            self.counted.append((self.clock, version, seconds * percent))

    # The meter.

    def traffic(self, version: str, since: float) -> Traffic:
        """As Prometheus would count."""
        does = self.candidate_does if version == "4" else Quality()
        requests = round(sum(n for at, whose, n in self.counted if whose == version and at > since))
        errors, rejected = round(requests * does.errors), round(requests * does.rejected)
        counts = [0] * len(EDGES_S)
        slot = next(i for i, edge in enumerate(EDGES_S) if does.latency_s <= edge)
        counts[slot] = requests - errors - rejected
        return Traffic(self.clock - since, requests, errors, rejected, EDGES_S, tuple(counts))

    # The probe.

    def golden(self, route: Route) -> Golden:
        """Of the version that the route leads to."""
        assert self._is(route, "4")
        return Golden(500, 500, round(500 * self.candidate_does.accuracy))

    def shadow(self, stable: Route, candidate: Route) -> Agreement:
        """Of both."""
        assert self._is(candidate, "4")
        assert self._is(stable, "3")
        return Agreement(500, 490, 0)

    def _is(self, route: Route, version: str) -> bool:
        named = {"4": ("latest-", "-v4-", "-candidate-"), "3": ("prev-", f"{NAME}-predictor.")}
        header = route.headers.get("millrace-version")
        led = header == version or any(each in route.url for each in named[version])
        return led and route.version == version

    # The registry.

    address = ""

    def promoted(self, candidate: Version) -> None:
        """Note it."""
        self.recorded.append(f"promoted {candidate.version}")

    def aborted(self, candidate: Version, why: str) -> None:
        """Note it."""
        self.recorded.append(f"aborted {candidate.version}: {why}")
