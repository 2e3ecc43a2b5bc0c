"""One request of a simulation: what it asks for, and what has become of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from predictor.queue_policy import Place

DONE, EXPIRED, REFUSED, LOST = "done", "expired", "refused", "lost"
NOWHERE = Place(1, 0, 0, 0, 0)


@dataclass(slots=True, eq=False)
class Request:
    """Times are nanoseconds of the simulation's clock, and 0 where it did not get there.

    Attributes:
        number: of this request.
        images: how many it has; they are answered together.
        frontend: to which of its pod's frontends it comes.
        priority, timeout_us, limit_us: what it asks of the queue.
        decode_ns: to decode one of its images on one thread.
        sent_ns: when its client sent it.
        place: how it stands in the queues.
        outcome: DONE, EXPIRED, REFUSED or LOST (with its pod); empty: not answered yet.
        predicted_ns: from acceptance to the answer.
        instance: who got its last image.
        left: images that are not computed yet.
        late: images that expired.
        handed_ns, gathered_ns, began_ns, ended_ns: of its last image: given to an instance, put
            into the next batch, its batch began and ended.
        answered_ns: when its client had the answer.
    """

    number: int
    images: int = 1
    frontend: int = 0
    priority: int = 0
    timeout_us: int | None = None
    limit_us: int | None = None
    decode_ns: int = 0
    sent_ns: int = 0
    place: Place = field(default=NOWHERE)
    outcome: str = ""
    predicted_ns: float = 0.0
    instance: int = -1
    left: int = 0
    late: int = 0
    handed_ns: int = 0
    gathered_ns: int = 0
    began_ns: int = 0
    ended_ns: int = 0
    answered_ns: int = 0
