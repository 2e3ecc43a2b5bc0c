"""What a scaling study found, as lines, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass, replace
from typing import Any

from study.cluster import Outcome
from study.findings import Finding, findings
from study.scaling import PodRow, Row, Series
from study.shape import PodShape

COLUMNS = (
    "kind",
    "rate",
    "count",
    "ideal_images_per_second",
    "real_images_per_second",
    "simulated_images_per_second",
    "ratio",
    "agrees",
    "compared",
    "efficiency",
    "simulated_efficiency",
    "real_p99_ms",
    "simulated_p99_ms",
    "busiest_frontend_cores",
    "machine_cores",
    "others_cores",
    "limit",
)


@dataclass(frozen=True, slots=True)
class Scaling:
    """All of it.

    Attributes:
        series: real devices beside simulated ones.
        shape: of the simulated pods.
        balancing: of their gateway.
        pods: simulated ones beside each other.
    """

    series: tuple[Series, ...]
    shape: PodShape
    balancing: str
    pods: tuple[PodRow, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was wanted, what came of it, and whether that will do."""
        return findings(self.series, self.pods)

    def lines(self) -> list[dict[str, Any]]:
        """One for each row, as ``COLUMNS`` name them; None where there is nothing."""
        rows = [_device_line(series, row) for series in self.series for row in series.rows]
        return rows + [_pod_line(self.shape, row) for row in self.pods]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: seconds, images a second, shares of 1."""
        return {
            "series": [
                {
                    "device": series.device.setting,
                    "rate": series.device.rate,
                    "calibration": asdict(series.calibration),
                    "rows": [
                        asdict(replace(row, simulated=_short(row.simulated)))
                        | {
                            "ratio": row.ratio,
                            "agrees": row.agrees,
                            "compared": row.compared,
                            "limit": row.limit,
                        }
                        for row in series.rows
                    ],
                }
                for series in self.series
            ],
            "pods": {
                "shape": asdict(self.shape),
                "balancing": self.balancing,
                "bottleneck": self.shape.bottleneck,
                "rows": [asdict(replace(row, outcome=_short(row.outcome))) for row in self.pods],
            },
            "findings": [asdict(finding) for finding in self.findings],
        }

    def as_csv(self) -> str:
        """``lines`` with a head."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.lines())
        return text.getvalue()


def _short(outcome: Outcome) -> Outcome:
    """Without every single latency."""
    return replace(outcome, latencies_s=())


def _device_line(series: Series, row: Row) -> dict[str, Any]:
    first = series.rows[0]
    alone = None if first.rate is None else first.rate / first.devices
    simulated = row.simulated.computed_per_second
    line: dict[str, Any] = dict.fromkeys(COLUMNS)
    line |= {
        "kind": "devices",
        "rate": series.device.rate,
        "count": row.devices,
        "ideal_images_per_second": row.ideal,
        "real_images_per_second": row.rate,
        "simulated_images_per_second": simulated,
        "ratio": row.ratio,
        "agrees": row.agrees,
        "compared": row.compared,
        "simulated_efficiency": simulated
        / (row.devices * first.simulated.computed_per_second / first.devices),
        "simulated_p99_ms": row.simulated.percentile_s(99) * 1e3,
        "limit": row.limit,
    }
    if row.real is not None and row.rate is not None and alone:
        line |= {
            "efficiency": row.rate / (row.devices * alone),
            "real_p99_ms": row.real.loaded.p99_s * 1e3,
            "busiest_frontend_cores": row.real.cores.busiest_frontend,
            "machine_cores": row.real.cores.machine,
            "others_cores": row.real.cores.others,
        }
    return line


def _pod_line(shape: PodShape, row: PodRow) -> dict[str, Any]:
    line: dict[str, Any] = dict.fromkeys(COLUMNS)
    return line | {
        "kind": "pods",
        "rate": shape.device.rate,
        "count": row.pods,
        "ideal_images_per_second": row.pods * shape.capacities[shape.bottleneck],
        "simulated_images_per_second": row.outcome.computed_per_second,
        "simulated_efficiency": row.efficiency,
        "simulated_p99_ms": row.outcome.percentile_s(99) * 1e3,
        "limit": shape.bottleneck,
    }
