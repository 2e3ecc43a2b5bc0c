"""What a run is to do: values only, made by the command line or by other rooms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from loadgen.arrivals import Arrival
from loadgen.errors import LoadError
from loadgen.form import Protocol
from loadgen.images import Image

MOST_RATE = 1_000_000.0  # requests a second: far beyond what the client can send
MOST_IN_FLIGHT = 100_000  # of a closed loop, at each endpoint: far beyond the files it can open
LONGEST_S = 31 * 86_400.0
MOST_SEED = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Closed:
    """So many requests in flight at each endpoint; the next leaves when one is answered.

    Raises:
        LoadError: it is no number of requests.
    """

    concurrency: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.concurrency <= MOST_IN_FLIGHT:
            raise LoadError(f"a concurrency must be 1 to {MOST_IN_FLIGHT}, not {self.concurrency}")

    def __str__(self) -> str:
        return f"concurrency {self.concurrency}"


@dataclass(frozen=True, slots=True)
class Open:
    """So many requests a second to all endpoints in turn, answered or not.

    Raises:
        LoadError: it is no rate.
    """

    rate: float
    arrival: Arrival = "poisson"

    def __post_init__(self) -> None:
        if not 0 < self.rate <= MOST_RATE:  # nor is NaN
            raise LoadError(
                f"a rate must be above 0 and at most {MOST_RATE:.0f} requests/s, not {self.rate:g}"
            )

    def __str__(self) -> str:
        return f"{self.rate:g} requests/s ({self.arrival})"


Load = Closed | Open


@dataclass(frozen=True, slots=True)
class Plan:
    """One run of the load client.

    Attributes:
        endpoints: ``http://host:port``, ``https://…``, ``grpc://host:port``, ``host:port`` (of the
            protocol), or ``dns+`` before one of these: every address that the name has, asked
            again every ``resolve_every_s``.
        images: sent in turn.
        load: how requests leave.
        protocol: of all requests.
        model: None asks the first endpoint for the only model it has.
        images_per_request: more than one makes batches on the wire.
        duration_s: measured time.
        requests: measured requests after which it ends earlier; 0 for no such end.
        warm_up_s: time under the same load before that, not counted.
        timeout_s: after which a request counts as failed.
        processes: of the client; 0 finds out how many the load needs, by a second of it before the
            warm-up, unless ``requests`` says how many requests there are to be.
        connections: per endpoint and process; 0 for as many as are needed.
        priority: v2 parameter; 0 sends none.
        headers: sent with every request.
        resolve_every_s: how often names with ``dns+`` are asked for.
        seed: of the arrivals.
    """

    endpoints: tuple[str, ...]
    images: tuple[Image, ...] = field(repr=False)
    load: Load = field(default_factory=Closed)
    protocol: Protocol = "v2"
    model: str | None = None
    images_per_request: int = 1
    duration_s: float = 10.0
    requests: int = 0
    warm_up_s: float = 1.0
    timeout_s: float = 30.0
    processes: int = 1
    connections: int = 0
    priority: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    resolve_every_s: float = 5.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.endpoints:
            raise LoadError("there is no endpoint to send to")
        for name in ("duration_s", "timeout_s", "resolve_every_s"):
            if not 0 < getattr(self, name) <= LONGEST_S:
                raise LoadError(f"{name} must be above 0 and at most {LONGEST_S:.0f}")
        if not 0 <= self.warm_up_s <= LONGEST_S:
            raise LoadError(f"warm_up_s must be 0 to {LONGEST_S:.0f}")
        if self.images_per_request < 1 or not 0 <= self.seed <= MOST_SEED:
            raise LoadError("images per request must be above 0, the seed 0 or above")
