"""What a scaling study found, as tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from study.calibration import Calibration
from study.scaling import Series
from study.scaling_report import Scaling

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
    ("compared", "compared", ""),
)
WORDS = ("limit", "compared")
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
    for finding in scaling.findings:
        verdict = finding.verdict if finding.holds else f"[bold red]{finding.verdict}[/]"
        wanted.add_row(finding.wanted, finding.reached, verdict)
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
        table.add_column(head, justify="left" if name in WORDS else "right")
    for line in lines:
        table.add_row(
            *("-" if line[name] is None else format(line[name], form) for _, name, form in heads)
        )
    return table
