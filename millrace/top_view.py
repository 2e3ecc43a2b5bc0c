"""Draws what pods say of their stages: from values to what rich prints, at any width.

All words and signs are ASCII and nothing is told by colour alone: only bars and boxes are nicer
where the terminal can.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from millrace.top_report import Instance, Sight, StagesReport
from millrace.top_shapes import Bar, Cut

WIDEST = 120  # columns: beyond that the eye loses the row
ROOM_FOR_ALL = 74  # columns inside a panel that the longer tables take
BATCH_SIZES = 8  # that many fit one line
LIMITS = "bold red"


def view(sights: Sequence[Sight], width: int) -> RenderableType:
    """Everything: of several pods a summary, then a panel for each that answers.

    Args:
        sights: one or more.
        width: columns there are.
    """
    width = min(width, WIDEST)
    reports = [(sight.url, sight.report) for sight in sights if sight.report is not None]
    # What does not answer comes first: a window that is too small cuts from below.
    parts: list[RenderableType] = [_silence(sight) for sight in sights if sight.report is None]
    if len(sights) > 1:
        parts += _summary(reports, len(sights))
    parts += [_panel(url, report, width) for url, report in reports]
    return Cut(Group(*parts))


def _silence(sight: Sight) -> Text:
    if sight.problem is None:
        return Text(f"{sight.url}: asking")
    seen = "" if sight.silent_s is None else f" (last answer {sight.silent_s:.0f} s ago)"
    return Text(f"{sight.problem}; trying again{seen}", "red")


def _summary(reports: Sequence[tuple[str, StagesReport]], pods: int) -> list[RenderableType]:
    rate = sum(report.images_per_second or 0.0 for _, report in reports)
    capacity = sum(report.capacity or 0.0 for _, report in reports)
    total = f"{_number(rate)} images/s of {_number(capacity or None)}"
    table = _table("pod", ">images/s", ">of", "limits", ">p50 ms", ">p99 ms")
    for url, report in reports:
        table.add_row(
            Text(url),
            _number(report.images_per_second),
            _number(report.capacity),
            Text(report.bottleneck or "-"),
            _number(report.latency_ms.p50),
            _number(report.latency_ms.p99),
        )
    return [Text(f"{len(reports)} of {pods} pods answer: {total}", "bold"), table]


def _panel(url: str, report: StagesReport, width: int) -> Panel:
    title = Text(f"{report.name}/{report.version}  {url}")
    return Panel(_body(report, width - 4), title=title, title_align="left", width=width)


def _body(report: StagesReport, width: int) -> Group:
    advice = report.advice or "nothing measured yet: send it images"
    return Group(
        _head(report, width),
        Text(advice, "bold"),
        Text(),
        _stages(report, width),
        Text(),
        _queue(report),
        _batches(report.batch_sizes),
        Text(),
        _instances(report.instances, width),
    )


def _head(report: StagesReport, width: int) -> Text:
    latency = report.latency_ms
    facts = (
        f"{_number(report.images_per_second)} images/s of {_number(report.capacity)}",
        f"headroom {_number(report.headroom)}",
        f"p50 {_number(latency.p50)} ms",
        f"p99 {_number(latency.p99)} ms",
        f"last {'-' if report.window_s is None else f'{report.window_s:.3g}'} s",
    )
    lines = [facts[0]]
    for fact in facts[1:]:  # broken between two facts only
        joined = f"{lines[-1]}   {fact}"
        lines[-1:] = [joined] if len(joined) <= width else [lines[-1], fact]
    return Text("\n".join(lines))


def _stages(report: StagesReport, width: int) -> Table:
    wide = width >= ROOM_FOR_ALL
    table = _table("stage", ">images/s", ">x least", "=", ">used")
    if wide:
        _add_columns(table, ">busy ms", "workers")
    least = min((stage.capacity for stage in report.stages if stage.capacity), default=None)
    rows = [
        (stage.name, stage, _several(stage.workers, stage.worker)) for stage in report.stages
    ] + [("cores", report.cores, _several(report.cores.count, "core"))]
    for name, stage, workers in rows:
        limits = name == report.bottleneck
        cells: list[RenderableType] = [
            Text(f"{'>' if limits else ' '} {name}"),
            _number(stage.capacity),
            _number(stage.capacity / least) if stage.capacity and least else "-",
            Bar(
                stage.utilisation,
                least / stage.capacity if stage.capacity and least else None,
                "red" if limits else "cyan",
            ),
            _percent(stage.utilisation),
        ]
        if wide:
            cells += [_number(stage.busy_ms), Text(workers)]
        table.add_row(*cells, style=LIMITS if limits else "")
    return table


def _queue(report: StagesReport) -> Text:
    queue = report.queue
    return Text(
        f"slots    {_count(queue.taken)} of {_count(queue.slots)} taken, "
        f"{_count(queue.coming)} not with an instance yet"
    )


def _batches(sizes: dict[int, int]) -> Text:
    most = sorted(sorted(sizes, key=lambda size: -sizes[size])[:BATCH_SIZES])
    parts = [f"{sizes[size]:,} of {size}" for size in most]
    others = sum(sizes.values()) - sum(sizes[size] for size in most)
    if others:
        parts.append(f"{others:,} of other sizes")
    return Text(f"batches  {', '.join(parts) or '-'}")


def _instances(instances: Iterable[Instance], width: int) -> Table:
    table = _table("instance", "device", ">queue", ">images/s", ">mean batch", ">busy")
    wide = width >= ROOM_FOR_ALL
    if wide:
        _add_columns(table, "=")
    for one in instances:
        cells: list[RenderableType] = [
            Text(f"{one.instance}{'' if one.up else ' down'}"),
            Text(one.device),
            _count(one.queue),
            _number(one.images_per_second),
            f"{_number(one.mean_batch)} of {_count(one.max_batch_size)}",
            _percent(one.busy_ratio),
        ]
        if wide:
            cells.append(Bar(one.busy_ratio, style="cyan"))
        table.add_row(*cells, style="" if one.up else LIMITS)
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, expand=True, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    _add_columns(table, *columns)
    return table


def _add_columns(table: Table, *columns: str) -> None:
    """``>`` before a name aligns right; ``=`` is a bar and takes the room that is left."""
    for column in columns:
        table.add_column(
            column.lstrip(">="),
            justify="right" if column.startswith(">") else "left",
            ratio=1 if column == "=" else None,
            no_wrap=True,
        )


def _number(value: float | None) -> str:
    """Three digits where it has them, and a dash where it was not measured."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
    decimals = 0 if abs(value) >= 99.5 else 1 if abs(value) >= 9.95 else 2
    return f"{value:,.{decimals}f}"


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _several(count: float | None, noun: str) -> str:
    return f"{'-' if count is None else f'{count:g}'} {noun}{'' if count == 1 else 's'}"
