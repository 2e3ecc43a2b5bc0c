"""A report as tables for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table

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


def _columns(*before: str) -> Table:
    table = Table(*before, box=None, header_style="bold")
    figures = ["mean", *(f"p{percent:g}" for percent in PERCENTILES), "max"]
    for name in ("requests/s", "images/s", "failed", *(f"{name} ms" for name in figures)):
        table.add_column(name, justify="right")
    return table


def _figures(report: Report, counted: Counted) -> list[str]:
    return [
        f"{counted.in_window / report.seconds:.1f}",
        f"{counted.images_in_window / report.seconds:.1f}",
        f"{counted.failed}",
        *(f"{value:.2f}" for value in latency_ms(counted.latency).values()),
    ]


def _measurements(reports: Sequence[Report]) -> Table:
    table = _columns("load")
    judged = any(report.total.judged for report in reports)
    if judged:
        table.add_column("accuracy", justify="right")
    for report in reports:
        accuracy = report.total.accuracy
        row = [str(report.load), *_figures(report, report.total)]
        table.add_row(*row, *([f"{accuracy:.2%}" if accuracy is not None else "-"] * judged))
    return table


def _endpoints(reports: Sequence[Report]) -> Table:
    table = _columns("endpoint", "load")
    for report in reports:
        for name, counted in report.endpoints.items():
            table.add_row(name, str(report.load), *_figures(report, counted))
    return table


def _outcomes(reports: Sequence[Report]) -> Table:
    table = Table("load", "ended as", box=None, header_style="bold")
    table.add_column("requests", justify="right")
    for report in (report for report in reports if report.total.failed):
        for outcome, times in report.total.outcomes.most_common():
            table.add_row(str(report.load), outcome, str(times))
    return table


def _wrong(reports: Sequence[Report]) -> Table:
    table = Table("image", "wrong answer", box=None, header_style="bold")
    table.add_column("times", justify="right")
    for report in reports:
        for (image, answer), times in report.total.wrong.most_common(WRONG_SHOWN):
            table.add_row(image, answer, str(times))
        more = len(report.total.wrong) - WRONG_SHOWN
        if more > 0:
            table.add_row(f"and {more} more", "", "")
    return table
