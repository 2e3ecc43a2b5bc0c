"""How the real frontends scale over emulated devices, and simulated pods beside each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from study.bench import CORES, FRONTENDS, SHARED_CORES, Bench, Seen
from study.calibration import Calibration, calibrate, predict
from study.cluster import Outcome, closed_loop
from study.device import Device
from study.errors import StudyError
from study.gateway import Cluster
from study.shape import DECODE_SPREAD, PodShape

AGREES = 0.05  # real and simulated, where this machine carries the real one
IDEAL = 0.95  # of what the devices can do: then they are the limit
GOAL, GOAL_PODS = 0.99, 24  # so many pods shall give that share of as many times one
NOT_RUN = "not run: beyond these cores"
CLIENTS = 192  # per pod: three batches, and fewer than it has slots
SIMULATED_S, SETTLING_S = 10.0, 2.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Row:
    """So many devices in one pod, as measured and as simulated.

    Attributes:
        devices: how many.
        ideal: images a second that they could do.
        real: None where this machine does not carry it.
        simulated: the same pod, as if its processes never waited for a core.
    """

    devices: int
    ideal: float
    real: Seen | None
    simulated: Outcome

    @property
    def rate(self) -> float | None:
        """Images a second, measured."""
        return None if self.real is None else self.real.loaded.images_per_second

    @property
    def ratio(self) -> float | None:
        """Measured ÷ simulated."""
        return None if self.rate is None else self.rate / self.simulated.computed_per_second

    @property
    def limit(self) -> str:
        """What kept it from giving more."""
        if self.real is None or self.rate is None:
            return NOT_RUN
        if self.rate >= IDEAL * self.ideal:
            return "devices"
        return self.real.cores.limit or "neither alone"

    @property
    def carried(self) -> bool:
        """Whether the cores of this machine did not decide what was measured."""
        return self.real is not None and self.limit not in (CORES, SHARED_CORES, FRONTENDS)

    @property
    def agrees(self) -> bool | None:
        """Whether real and simulated are within 5 %; None where that says nothing."""
        return abs(self.ratio - 1) <= AGREES if self.ratio is not None and self.carried else None

    @property
    def compared(self) -> str:
        """Whether real and simulated can be compared, and why not.

        The simulator's processes never wait for a core, and its frontends cost what they were
        calibrated to cost with two devices: where cores or frontends are the limit, real and
        simulated differ by what it does not know.
        """
        return {
            NOT_RUN: "no: not run, since these cores did not carry the row before",
            CORES: "no: the cores of this machine are the limit",
            SHARED_CORES: "no: others use the cores of this machine",
            FRONTENDS: "no: a frontend has no more of its core to give",
        }.get(self.limit, "yes")


@dataclass(frozen=True, slots=True)
class Series:
    """Devices of one rate, in growing numbers."""

    device: Device
    calibration: Calibration
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class PodRow:
    """So many simulated pods behind one gateway."""

    pods: int
    outcome: Outcome
    efficiency: float  # of so many times one pod


def measure_series(
    bench: Bench, rate: float, counts: Sequence[int], say: Say, *, beyond: bool = False
) -> Series:
    """Calibrate, then measure and simulate each count, as far as the cores carry it.

    Args:
        bench: how.
        rate: of a device.
        counts: of devices, ascending.
        say: told what is done.
        beyond: measure also what the cores do not carry.

    Raises:
        StudyError: a pod could not be measured.
    """
    device = Device.of_rate(rate)
    say(f"{rate:g} images/s a device: calibrating on pods that are no row")
    calibration = calibrate(bench, device)
    rows: list[Row] = []
    for devices in counts:
        simulated = predict(calibration, bench, device, devices)
        seen = None
        if beyond or not rows or rows[-1].carried:
            say(f"{devices} device(s) of {rate:g} images/s")
            with bench.pod(device, devices) as pod:
                clients = bench.clients(device, devices)
                seen = bench.keep_busy(pod, clients, bench.images, bench.seconds)
        rows.append(Row(devices, devices * rate, seen, simulated))
    return Series(device, calibration, tuple(rows))


def simulate_pods(
    shape: PodShape, counts: Sequence[int], balancing: str, network_s: float, say: Say
) -> list[PodRow]:
    """Each count of such pods behind one gateway, kept busy by clients that ask again and again.

    Raises:
        StudyError: such a pod answers nothing in time.
    """

    def run(pods: int) -> Outcome:
        say(f"simulating {pods} pod(s)")
        cluster = Cluster(
            (shape.pod,) * pods,
            balancing,
            round(network_s * 1e9),
            decode_ns=round(shape.decode_s * 1e9),
            decode_spread=DECODE_SPREAD,
        )
        return closed_loop(cluster, CLIENTS * pods, SIMULATED_S, SETTLING_S)

    one = run(1)
    if not one.computed_per_second:
        raise StudyError(shape.why_nothing)
    rows = []
    for pods in counts:
        outcome = one if pods == 1 else run(pods)
        rows.append(
            PodRow(pods, outcome, outcome.computed_per_second / (pods * one.computed_per_second))
        )
    return rows
