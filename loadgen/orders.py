"""What the client's processes tell each other."""

from __future__ import annotations

from dataclasses import dataclass

from loadgen.endpoint import Source
from loadgen.form import Form
from loadgen.histogram import Histogram
from loadgen.images import Image
from loadgen.plan import Load
from loadgen.tally import Counted


@dataclass(frozen=True, slots=True)
class Stored:
    """A request whose body lies in the file that all processes map."""

    images: tuple[int, ...]
    start: bytes
    headers: bytes
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Setup:
    """Sent once to every worker; answered by Ready or Refused."""

    sources: tuple[Source, ...]
    form: Form
    requests: tuple[Stored, ...]
    images: tuple[Image, ...]  # without contents
    timeout_s: float
    connections: int
    resolve_every_s: float


@dataclass(frozen=True, slots=True)
class Measure:
    """One measurement; answered by Beats and at the end a Result, or Refused.

    Attributes:
        load: of all workers together.
        worker: which of them this is.
        workers: how many take part.
        begin_ns: when to begin, monotonic; then comes the warm-up.
        start_ns: when to begin counting.
        end_ns: when to send no more.
        limit: this worker's measured requests; 0 for any number.
        seed: of the arrivals.
    """

    load: Load
    worker: int
    workers: int
    begin_ns: int
    start_ns: int
    end_ns: int
    limit: int
    seed: int


@dataclass(frozen=True, slots=True)
class Stop:
    """End the measured time now, or the wait for the last answers if it is over."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker can measure."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The worker cannot go on; what it says is for the user."""

    reason: str


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign of life during a measurement, once a second."""

    answered: int
    failed: int
    in_flight: int
    endpoints: int
    recent_us: tuple[int, ...]  # some of the latencies since the last one


@dataclass(frozen=True, slots=True)
class Result:
    """What one worker saw, by endpoint."""

    counted: dict[str, Counted]
    end_ns: int  # when its measured time ended
    unsent: int  # requests that were due and never left
    cut: bool  # whether Stop came before that time was over
    unanswered: int  # measured requests that Stop ended, as it came after
    cpu_ratio: float  # of one core, in the measured time
    lag: Histogram


Order = Setup | Measure | Stop
Reply = Ready | Refused | Beat | Result
