"""The contract between the parts of a rollout.

    engine   decides; pure                                    (engine.py)
    Place    where two versions are served, and how requests are shared out
    Meter    what requests came to, by version
    Probe    asks a version about known images
    Ledger   where the rollout's state is kept, so that a killed one goes on where it was

Everything a Place is told may be told again: a rollout that was killed repeats its last order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Version:
    """A registered version of the model.

    Attributes:
        name: in the registry.
        version: its number, as pods say it in ``model_version`` and in metrics.
        uri: ``models:/NAME/NUMBER``.
    """

    name: str
    version: str
    uri: str


class Standing(StrEnum):
    """How far a candidate has come at its place."""

    ABSENT = "absent"
    STARTING = "starting"
    READY = "ready"
    FAILED = "failed"  # will not become ready by waiting


@dataclass(frozen=True, slots=True)
class Readiness:
    """A candidate's standing, and why."""

    standing: Standing
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Route:
    """How one version, or the public address, is asked.

    Attributes:
        url: of the model, ``http://HOST:PORT/v2/models/NAME`` (or ``…/versions/V``).
        headers: to be sent, such as ``Host`` where a gateway goes by it.
        version: that is to answer; empty: whichever does.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    version: str = ""


class Place(Protocol):
    """Where the model is served. Methods may be repeated, and raise RolloutError.

    Attributes:
        title: for people, "InferenceService shop/classifier (Standard, KServe 0.20)".
    """

    @property
    def title(self) -> str:
        """See above."""

    def stable(self) -> str:
        """The version that is served now."""

    def launch(self, candidate: Version) -> None:
        """Begin to start the candidate's pods, with no requests; returns without waiting."""

    def readiness(self, candidate: Version) -> Readiness:
        """How far the candidate has come."""

    def share(self, candidate: Version, percent: int) -> None:
        """Send so much of the public requests to the candidate, from now on.

        A share that rises may have to wait (UnfinishedError); one that does not waits for nothing.
        """

    def promote(self, candidate: Version) -> None:
        """Make the candidate the version that is served; what was served before goes."""

    def withdraw(self, candidate: Version) -> None:
        """All requests to the stable version at once; then the candidate goes."""

    def public(self) -> Route:
        """The address that clients have: either version answers, by the shares."""

    def direct(self, version: str) -> Route:
        """The way to one version alone, which the route names as ``version``.

        Gateways take their time: at first it may lead nowhere, or to another version.
        """


@dataclass(frozen=True, slots=True)
class Traffic:
    """What requests to one version came to, over a stretch of time.

    Attributes:
        seconds: for how long they were counted; of pods that were not counted all of that time, the
            part that their counts are of what there was.
        requests: all that were answered, refusals and errors included.
        errors: answered 5xx other than refusals; gRPC: INTERNAL, UNKNOWN, DATA_LOSS and the like.
        rejected: refused for want of room or time: 429, 503, 504; gRPC: RESOURCE_EXHAUSTED, …
        edges_s: upper edges of the histogram's buckets, rising, the last one ``inf``.
        counts: requests in each bucket alone, of those that were answered well.
        age_s: how long ago the newest of it was read, but for by how much readings are always late.
        interval_s: from one reading of a pod to its next.
    """

    seconds: float
    requests: int
    errors: int
    rejected: int
    edges_s: tuple[float, ...]
    counts: tuple[int, ...]
    age_s: float = 0.0
    interval_s: float = 0.0


class Meter(Protocol):
    """Counts requests by version, from metrics ``millrace_requests_total`` and the like."""

    def traffic(self, version: str, since: float) -> Traffic:
        """What became of the version's requests since ``since``, seconds of the epoch.

        Raises:
            UnreachableError: nothing is known now.
        """


@dataclass(frozen=True, slots=True)
class Golden:
    """Images of known class asked about: how many there were, were answered, were right."""

    asked: int
    answered: int
    right: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """The same images asked of both versions.

    Attributes:
        compared: images that both answered.
        same: those with the same first class.
        unanswered: images that the candidate did not answer though the stable version did.
    """

    compared: int
    same: int
    unanswered: int


class Probe(Protocol):
    """Asks versions about images that the rollout brings along. Raises RolloutError."""

    def golden(self, route: Route) -> Golden:
        """The golden set, through ``route``."""

    def shadow(self, stable: Route, candidate: Route) -> Agreement:
        """The replay set, to both at once."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A state as it is kept, and the mark by which a change of it is told from another's."""

    state: str  # JSON of rollout.state.State
    revision: str


class Ledger(Protocol):
    """Keeps one state per model; whoever writes must have read the newest."""

    def read(self) -> Kept | None:
        """What is kept; None if nothing is."""

    def write(self, state: str, revision: str | None) -> str:
        """Keep ``state`` in place of what had ``revision`` (None: of nothing); gives the new mark.

        Raises:
            ConflictError: somebody else wrote meanwhile.
        """
