"""One request and its answer, and what sends the one and takes the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from loadgen.endpoint import Endpoint
from loadgen.requests import Request


class Answer(NamedTuple):
    """How an exchange ended.

    Attributes:
        status: ``200`` and the like, a gRPC code, or what happened in place of an answer:
            ``timeout``, ``refused``, ``closed``, ``unreachable``, ``malformed``.
        good: whether it is a success.
        lost: whether no server answered at all.
        body: of the answer.
    """

    status: str
    good: bool
    lost: bool
    body: bytes

    @classmethod
    def none(cls, what: str) -> Answer:
        """No answer, and why."""
        return cls(what, good=False, lost=True, body=b"")


class Exchange:
    """A request on its way; a closed loop uses the same one again and again."""

    __slots__ = ("asked_ns", "finish", "intended_ns", "pool", "request", "sent_ns")

    def __init__(
        self,
        pool: Pool,
        request: Request,
        intended_ns: int,
        finish: Callable[[Exchange, Answer], None],
    ) -> None:
        self.pool = pool
        self.request = request
        self.intended_ns = intended_ns  # when it was to leave, monotonic
        self.asked_ns = 0  # when the pool got it: its timeout counts from then
        self.sent_ns = 0  # when it was written; 0 before
        self.finish = finish  # called once for every sending


class Pool(Protocol):
    """The connections to one endpoint."""

    @property
    def endpoint(self) -> Endpoint:
        """Where they lead."""

    def send(self, exchange: Exchange) -> None:
        """Send it on a connection of its own; its ``finish`` is called, whatever happens."""

    def widen(self, lanes: int) -> int:
        """Have room for at least so many at a time, so that none waits for another's answer.

        Returns:
            The connections that so many need.
        """

    async def end_exchanges(self) -> None:
        """End what is in flight, as ``closed``; more can be sent."""

    async def close(self) -> None:
        """Close all connections; what is in flight ends as ``closed``."""
