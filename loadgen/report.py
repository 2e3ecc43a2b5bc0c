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
# Of what arrives, so much may pile up: latencies that grow faster are those of a growing backlog.
MOST_GROWTH = 0.03
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
        unsent: requests of an open loop that were due and never left.
        interrupted: whether the measured time was cut short.
        unanswered: measured requests whose answers were awaited no longer, and that no other
            figure counts: nothing is known of them.
        stop_wanted: whether Ctrl-C came at any time, so that nothing more is to be measured.
    """

    load: Load
    seconds: float
    total: Counted
    endpoints: Mapping[str, Counted]
    client: Client
    unsent: int = 0
    interrupted: bool = False
    unanswered: int = 0
    stop_wanted: bool = False

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return self.total.in_window / self.seconds

    @property
    def images_per_s(self) -> float:
        """Images in good answers, a second."""
        return self.total.images_in_window / self.seconds

    @property
    def keeps_up(self) -> bool:
        """Whether the backlog does not grow while requests leave; an open loop can outrun a server.

        Latencies show that too, but only once the backlog is as long as an objective allows.
        """
        return not self.total.trend.is_above(MOST_GROWTH)

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
                "the server falls behind: latencies grow by "
                f"{self.total.trend.slope * 1000:,.0f} ms every second"
            )
        if self.unsent:
            said.append(
                f"{self.unsent} of {self.unsent + self.total.requests} requests that were due "
                "never left, since too many were on their way: that rate was not reached"
            )
        if self.unanswered:
            said.append(
                f"{self.unanswered} requests were still unanswered when Ctrl-C ended the wait for "
                "them: no figure counts them, so slow answers may be missing"
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
        if self.unsent:
            missed.append(f"{self.unsent} requests that were due never left")
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
            "unsent": self.unsent,
            "interrupted": self.interrupted,
            "unanswered": self.unanswered,
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


def report(load: Load, start_ns: int, results: Sequence[Result], *, stop_wanted: bool) -> Report:
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
        sum(result.unsent for result in results),
        any(result.cut for result in results),
        sum(result.unanswered for result in results),
        stop_wanted,
    )
