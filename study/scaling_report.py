"""What a scaling study found, as tables, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich.table import Table

from study.calibration import Calibration
from study.cluster import Outcome
from study.scaling import AGREES, GOAL, PodRow, Row, Series
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
    def findings(self) -> list[tuple[str, str, bool]]:
        """What was wanted, what came of it, and whether that will do."""
        compared = [row for each in self.series for row in each.rows if row.agrees is not None]
        worst = max((abs((row.ratio or 1) - 1) for row in compared), default=0.0)
        found = []
        if compared:
            found.append(
                (
                    f"real and simulated within {AGREES:.0%} where these cores carry the real one",
                    f"{sum(bool(row.agrees) for row in compared)} of {len(compared)} rows, "
                    f"at most {worst:.1%} apart",
                    all(row.agrees for row in compared),
                )
            )
        if self.pods:
            last = self.pods[-1]
            found.append(
                (
                    f"{last.pods} simulated pods give at least {GOAL:.0%} of as many times one",
                    f"{last.efficiency:.2%}",
                    last.efficiency >= GOAL,
                )
            )
        return found

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
                        | {"ratio": row.ratio, "agrees": row.agrees, "limit": row.limit}
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
            "findings": [
                {"wanted": wanted, "reached": reached, "holds": holds}
                for wanted, reached, holds in self.findings
            ],
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


HEADS = (
    ("devices", "count", ",d"),
    ("ideal images/s", "ideal_images_per_second", ",.0f"),
    ("real images/s", "real_images_per_second", ",.0f"),
    ("simulated images/s", "simulated_images_per_second", ",.0f"),
    ("real ÷ simulated", "ratio", ".3f"),
    ("real efficiency", "efficiency", ".1%"),
    ("simulated efficiency", "simulated_efficiency", ".1%"),
    ("real p99 ms", "real_p99_ms", ",.0f"),
    ("simulated p99 ms", "simulated_p99_ms", ",.0f"),
    ("frontend cores", "busiest_frontend_cores", ".2f"),
    ("all cores", "machine_cores", ".2f"),
    ("of others", "others_cores", ".2f"),
    ("limit", "limit", ""),
)
POD_HEADS = tuple(
    ("pods" if head == "devices" else head, name, form)
    for head, name, form in HEADS
    if name in ("count", "ideal_images_per_second", "limit") or name.startswith("simulated")
)


def tables(scaling: Scaling) -> list[Table]:
    """One for each series, one for the pods, and what was wanted."""
    lines = scaling.lines()
    shown = [
        _table(
            f"real pod, {series.device.rate:g} images/s a device ({series.device.setting}), "
            f"batches of {series.device.batch}",
            HEADS,
            [line for line in lines if line["kind"] == "devices" and _is_of(line, series)],
            _calibrated(series.calibration),
        )
        for series in scaling.series
    ]
    if scaling.pods:
        shape = scaling.shape
        title = (
            f"simulated pods of 1 accelerator ({shape.device.rate:g} images/s) and {shape.cores} "
            f"cores, {shape.decode_s * 1e3:.1f} ms to decode, {scaling.balancing}"
        )
        shown.append(_table(title, POD_HEADS, [line for line in lines if line["kind"] == "pods"]))
    wanted = Table("wanted", "reached", "", title="what was wanted")
    for what, reached, holds in scaling.findings:
        wanted.add_row(what, reached, "yes" if holds else "[bold red]no[/]")
    return [*shown, wanted]


def _is_of(line: dict[str, Any], series: Series) -> bool:
    return bool(line["rate"] == series.device.rate)


def _calibrated(calibration: Calibration) -> str:
    cost = calibration.cost
    return (
        f"calibrated on other pods: {cost.per_batch_s * 1e3:.2f} ms a batch and "
        f"{cost.per_image_s * 1e3:.3f} ms an image, {calibration.handling_s * 1e3:.2f} ms between "
        f"batches, {calibration.message_s * 1e3:.2f} ms a message, "
        f"{calibration.loop_s * 1e6:.0f} us of a frontend an image (at most: "
        f"{calibration.loop_limit}); ready after {calibration.ready_s:.1f} s"
    )


def _table(
    title: str,
    heads: Sequence[tuple[str, str, str]],
    lines: Sequence[dict[str, Any]],
    caption: str | None = None,
) -> Table:
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    for head, name, _ in heads:
        table.add_column(head, justify="left" if name == "limit" else "right")
    for line in lines:
        table.add_row(
            *("-" if line[name] is None else format(line[name], form) for _, name, form in heads)
        )
    return table
