"""A report as tables for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table

from loadgen.plan import Closed
from loadgen.report import PERCENTILES, WRONG_SHOWN, Report, latency_ms
from loadgen.tally import Counted


def tables(reports: Sequence[Report]) -> Iterator[Table]:
    """The measurements, then their endpoints where there are several, then what went wrong."""
    yield _measurements(reports)
    if any(len(report.endpoints) > 1 for report in reports):
        yield _endpoints(reports)
    if any(report.total.failed for report in reports):
        yield _outcomes(reports)
    if any(report.total.wrong for report in reports):
        yield _wrong(reports)


def _columns(reports: Sequence[Report], *before: str) -> Table:
    """Narrow: a terminal of 80 columns must hold them."""
    table = _table(*before)
    figures = ["mean", *(f"p{percent:g}" for percent in PERCENTILES), "max"]
    rates = ("req/s", "img/s") if _batched(reports) else ("req/s",)
    for name in (*rates, "failed", *(f"{name} ms" for name in figures)):
        table.add_column(name, justify="right")
    return table


def _table(*before: str) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
    for name in before:
        table.add_column(name, no_wrap=True)
    return table


def _batched(reports: Sequence[Report]) -> bool:
    return any(report.total.in_window != report.total.images_in_window for report in reports)


def _load(report: Report) -> str:
    load = report.load
    if isinstance(load, Closed):
        return str(load)
    return f"{load.rate:.5g}/s {load.arrival}"


def _figures(report: Report, counted: Counted, batched: bool) -> list[str]:
    rates = [counted.in_window, counted.images_in_window] if batched else [counted.in_window]
    return [
        *(f"{rate / report.seconds:.1f}" for rate in rates),
        f"{counted.failed}",
        *(_ms(value) for value in latency_ms(counted.latency).values()),
    ]


def _ms(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _measurements(reports: Sequence[Report]) -> Table:
    table = _columns(reports, "load")
    judged = any(report.total.judged for report in reports)
    if judged:
        table.add_column("right", justify="right")
    for report in reports:
        accuracy = report.total.accuracy
        row = [_load(report), *_figures(report, report.total, _batched(reports))]
        table.add_row(*row, *([f"{accuracy:.1%}" if accuracy is not None else "-"] * judged))
    return table


def _endpoints(reports: Sequence[Report]) -> Table:
    table = _columns(reports, "endpoint", "load")
    for report in reports:
        for name, counted in report.endpoints.items():
            row = _figures(report, counted, _batched(reports))
            table.add_row(name, _load(report), *row)
    return table


def _outcomes(reports: Sequence[Report]) -> Table:
    table = _table("load", "ended as")
    table.add_column("requests", justify="right")
    for report in (report for report in reports if report.total.failed):
        for outcome, times in report.total.outcomes.most_common():
            table.add_row(_load(report), outcome, str(times))
    return table


def _wrong(reports: Sequence[Report]) -> Table:
    table = _table("image", "wrong answer")
    table.add_column("times", justify="right")
    for report in reports:
        for (image, answer), times in report.total.wrong.most_common(WRONG_SHOWN):
            table.add_row(image, answer, str(times))
        more = len(report.total.wrong) - WRONG_SHOWN
        if more > 0:
            table.add_row(f"and {more} more", "", "")
    return table
