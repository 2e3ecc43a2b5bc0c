"""What a study of fleets found, as tables, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, fields
from typing import Any

from rich.table import Table

from study.fleet_plan import assumptions
from study.fleet_study import FleetRow, FleetStudy


def tables(study: FleetStudy) -> list[Table]:
    """The assumptions first, then what follows from them."""
    assumed = Table("assumption", "value", "meaning", "how", "source", title="assumptions")
    for row in assumptions(study.plan):
        assumed.add_row(*row)
    pod = study.plan.shape
    found = Table(
        "pods at peak",
        "ready, least / mean / most",
        "images",
        "refused",
        "lost",
        "pods lost",
        "load",
        "p50 ms",
        "p99 ms",
        "USD",
        "USD a million",
        "if all were used",
        title=f"one pod answers {study.curve.capacity:,.0f} images/s (limit: {pod.bottleneck}); "
        f"autoscaler: {study.plan.autoscaler}",
        title_justify="left",
    )
    for fleet in study.rows:
        found.add_row(*_cells(fleet))
    return [assumed, found]


def _cells(row: FleetRow) -> tuple[str, ...]:
    return (
        f"{row.pods:,}",
        f"{row.least:,} / {row.mean:,.1f} / {row.most:,}",
        f"{row.images:,.0f}",
        f"{row.refused:.4%}",
        f"{row.lost:.1e}",
        f"{row.losses}",
        f"{row.load:.1%}",
        f"{row.p50_ms:.1f}",
        f"{row.p99_ms:.1f}",
        f"{row.cost:,.2f}",
        f"{row.per_million:.3f}",
        f"{row.floor:.3f}",
    )


def as_dict(study: FleetStudy) -> dict[str, Any]:
    """For JSON."""
    curve = study.curve
    names = ("name", "value", "meaning", "how", "source")
    return {
        "assumptions": [dict(zip(names, row, strict=True)) for row in assumptions(study.plan)],
        "pod": {
            "images_per_second": curve.capacity,
            "bottleneck": study.plan.shape.bottleneck,
            "load": curve.loads.tolist(),
            "answered": curve.answered.tolist(),
            "busy": curve.busy.tolist(),
            "concurrency": curve.concurrency.tolist(),
        },
        "fleets": [asdict(row) for row in study.rows],
    }


def as_csv(study: FleetStudy) -> str:
    """A line for each fleet, under a head."""
    text = io.StringIO()
    names = [field.name for field in fields(FleetRow)]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in study.rows)
    return text.getvalue()
