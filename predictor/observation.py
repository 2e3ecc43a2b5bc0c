"""What happened to one request, as its statistics, its log line and its trace are made of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

# A rollout's own questions say so, and are counted apart: the shares of the others are judged.
PROBE_HEADER, PROBE = b"x-millrace-probe", "probe"


@dataclass(slots=True, eq=False)
class ImageTimes:
    """When one image passed each point of the path; CLOCK_MONOTONIC ns, 0 where it never came."""

    accepted_ns: int = 0
    decode_began_ns: int = 0
    decoded_ns: int = 0
    infer_began_ns: int = 0
    infer_ended_ns: int = 0
    collected_ns: int = 0  # its answer is back in the frontend, and may leave if order is kept


@dataclass(slots=True, eq=False)
class Observation:
    """One inference request from its arrival to its answer; times as in ``ImageTimes``.

    Attributes:
        protocol: v1, v2 or grpc; ``PROBE`` for what no client asked.
        operation: what was called: the HTTP method and path, or the gRPC method.
        request_id: the client's ``x-request-id``, or one made here.
        traceparent: the client's W3C trace context; empty when it sent none.
        code: HTTP status, or name of the gRPC code.
        error: what the client was told; empty when it was answered.
        version: which of the model took it, or was named; empty when none did or was.
        images: how many it held.
        answered: how many of them were answered.
        read_ns: its body had been read.
        parsed_ns: its images were known.
        classified_ns: its last image had been answered; what follows is making its answer.
        rendered_ns: its answer was there and waited for the client to take those before it.
        last: the image that was answered last: its path is the request's critical path.
    """

    protocol: str
    operation: str
    request_id: str
    traceparent: str = ""
    code: str = ""
    error: str = ""
    version: str = ""
    images: int = 0
    answered: int = 0
    began_ns: int = 0
    read_ns: int = 0
    parsed_ns: int = 0
    classified_ns: int = 0
    rendered_ns: int = 0
    ended_ns: int = 0
    last: ImageTimes | None = None

    def classified(self, images: int, times: Sequence[ImageTimes]) -> None:
        """All ``images`` have been dealt with; ``times`` are of those that were answered."""
        self.classified_ns = time.monotonic_ns()
        self.images, self.answered = images, len(times)
        self.last = max(times, key=lambda image: image.collected_ns, default=None)
