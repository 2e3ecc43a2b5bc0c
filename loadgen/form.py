"""How a request looks on the wire: which protocol, which model, what goes with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Protocol = Literal["v2", "v2-json", "v1", "v1-raw", "grpc"]
PROTOCOLS: tuple[Protocol, ...] = ("v2", "v2-json", "v1", "v1-raw", "grpc")

REQUEST_ID = "load"  # the same for all, so that equal answers are equal bytes
INPUT = "image"


@dataclass(frozen=True, slots=True)
class Form:
    """What all requests of a run have in common.

    Attributes:
        protocol: ``v2`` with the binary extension, ``v2-json``, ``v1``, ``v1-raw``, ``grpc``.
        model: its name in the path or message.
        images_per_request: at least 1.
        priority: the v2 parameter; 0 sends none.
        headers: sent with every request, as gRPC metadata too; a Host here replaces the endpoint's.
        with_labels: whether labels are asked for, or class indices and scores alone.
    """

    protocol: Protocol
    model: str
    images_per_request: int = 1
    priority: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    with_labels: bool = False

    @property
    def outputs(self) -> tuple[str, ...]:
        """The outputs that a v2 request asks for."""
        return ("indices", "scores", "labels") if self.with_labels else ("indices", "scores")
