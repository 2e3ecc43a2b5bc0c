"""What a measurement found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from loadgen.histogram import Histogram, merged
from loadgen.orders import Result
from loadgen.plan import Closed, Load
from loadgen.slo import Slo
from loadgen.tally import Counted, together

PERCENTILES = (50.0, 90.0, 99.0, 99.9)
BUSY_RATIO = 0.9  # of a core: a process that works so much has no time to spare
LATE_US = 10_000  # an event loop later than that shows in latencies
KEPT_RATE = 0.97  # of the requests that left, answered as fast as they left: the server keeps up
EDGE = 3  # answers that may miss the window's end without saying anything
WRONG_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Client:
    """What the client itself had to do.

    Attributes:
        processes: that sent.
        busiest_ratio: of a core, the busiest process.
        late_p99_us: how late its event loop came, in an open loop how late requests left.
    """

    processes: int
    busiest_ratio: float
    late_p99_us: int


@dataclass(frozen=True, slots=True)
class Report:
    """One measurement.

    Attributes:
        load: as it was asked for.
        seconds: measured.
        total: over all endpoints.
        endpoints: each by its address.
        client: what it took to send.
        interrupted: whether it was ended early.
    """

    load: Load
    seconds: float
    total: Counted
    endpoints: Mapping[str, Counted]
    client: Client
    interrupted: bool = False

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return self.total.in_window / self.seconds

    @property
    def images_per_s(self) -> float:
        """Images in good answers, a second."""
        return self.total.images_in_window / self.seconds

    @property
    def sent_rate(self) -> float:
        """Measured requests a second, answered well or not."""
        return self.total.requests / self.seconds

    @property
    def keeps_up(self) -> bool:
        """Whether good answers came as fast as requests left; only an open loop can outrun them.

        Latencies show that too, but only once the backlog is as long as an objective allows.
        """
        return self.total.in_window + EDGE >= KEPT_RATE * self.total.requests

    @property
    def client_limits(self) -> bool:
        """Whether the client had no time to spare, so that the server may do better."""
        return self.client.busiest_ratio > BUSY_RATIO

    @property
    def notes(self) -> tuple[str, ...]:
        """What makes the figures doubtful."""
        said = []
        client = self.client
        if self.client_limits:
            said.append(
                "the client, not the server, may be the limit: its busiest process used "
                f"{client.busiest_ratio:.0%} of a core; give it more --processes"
            )
        elif client.late_p99_us > LATE_US:
            said.append(
                f"the client was kept from running for {client.late_p99_us / 1000:.3g} ms at p99, "
                f"at {client.busiest_ratio:.0%} of a core: latencies include what other programs "
                "on this machine took; send from another one"
            )
        if not isinstance(self.load, Closed) and not self.keeps_up:
            said.append(
                f"the server falls behind: {self.rate:.6g} good answers a second to "
                f"{self.sent_rate:.6g} requests"
            )
        if self.interrupted:
            said.append(f"interrupted after {self.seconds:.3g} s")
        return tuple(said)

    def misses(self, slo: Slo | None, least_accuracy: float | None = None) -> tuple[str, ...]:
        """What of ``slo`` does not hold, and whether too few answers are right, or none is good."""
        missed = list(slo.misses(self.total)) if slo is not None else []
        accuracy = self.total.accuracy
        if least_accuracy is not None and (accuracy is None or accuracy < least_accuracy):
            seen = "unknown" if accuracy is None else f"{accuracy:.2%}"
            missed.append(f"accuracy is {seen}, below {least_accuracy:.2%}")
        if self.total.failed == self.total.requests:
            missed.append("no request was answered well")
        return tuple(missed)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: plain values, latencies in milliseconds."""
        kind: dict[str, Any] = (
            {"loop": "closed", "concurrency": self.load.concurrency}
            if isinstance(self.load, Closed)
            else {"loop": "open", "rate": self.load.rate, "arrival": self.load.arrival}
        )
        return {
            "load": kind,
            "seconds": round(self.seconds, 6),
            **self.figures(self.total),
            "endpoints": {name: self.figures(counted) for name, counted in self.endpoints.items()},
            "client": {
                "processes": self.client.processes,
                "busiest_process_cpu_ratio": round(self.client.busiest_ratio, 4),
                "late_p99_ms": self.client.late_p99_us / 1000,
            },
            "interrupted": self.interrupted,
            "notes": list(self.notes),
        }

    def figures(self, counted: Counted) -> dict[str, Any]:
        """Of all endpoints or one, as plain values."""
        return {
            "requests": counted.requests,
            "failed": counted.failed,
            "outcomes": dict(sorted(counted.outcomes.items())),
            "requests_per_s": round(counted.in_window / self.seconds, 3),
            "images_per_s": round(counted.images_in_window / self.seconds, 3),
            "latency_ms": latency_ms(counted.latency),
            "service_ms": latency_ms(counted.service),
            "accuracy": counted.accuracy,
            "judged": counted.judged,
            "wrong": [
                {"image": image, "answer": answer, "times": times}
                for (image, answer), times in counted.wrong.most_common(WRONG_SHOWN)
            ],
        }


def latency_ms(histogram: Histogram) -> dict[str, float]:
    """The usual figures of a histogram."""
    figures = {"mean": round(histogram.mean_us / 1000, 3)}
    for percent in PERCENTILES:
        figures[f"p{percent:g}"] = histogram.percentile_us(percent) / 1000
    return figures | {"max": histogram.max_us / 1000}


def report(load: Load, start_ns: int, results: Sequence[Result], *, interrupted: bool) -> Report:
    """Put together what all processes saw.

    In a closed loop latencies are corrected for coordinated omission here, by the mean latency of
    each endpoint: that is the interval at which each of its connections was asked, as long as
    nothing stalled. (wrk corrects by the same: running time x connections / requests.) In an open
    loop there is nothing to correct, since latencies count from when requests were to leave.
    """
    names = sorted({name for result in results for name in result.counted})
    endpoints = {}
    for name in names:
        counted = together(result.counted[name] for result in results if name in result.counted)
        if isinstance(load, Closed):
            corrected = counted.service.corrected(counted.service.mean_us)
            counted = replace(counted, latency=corrected)
        endpoints[name] = counted
    end_ns = max(result.end_ns for result in results)
    lag = merged(result.lag for result in results)
    return Report(
        load,
        max((end_ns - start_ns) / 1e9, 1e-3),  # an interrupt may come before the start
        together(endpoints.values()),
        endpoints,
        Client(len(results), max(result.cpu_ratio for result in results), lag.percentile_us(99)),
        interrupted,
    )
