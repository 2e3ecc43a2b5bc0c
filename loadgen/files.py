"""Reports as JSON, CSV and HdrHistogram's percentile table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from loadgen.errors import LoadError
from loadgen.histogram import merged
from loadgen.mlperf import Verdict
from loadgen.plan import Closed
from loadgen.report import Report
from loadgen.tally import Counted

EVERY_ENDPOINT = "all"


def to_json(reports: Sequence[Report], **more: Any) -> bytes:
    """``{"measurements": [...]}`` and what else there is to say."""
    content = {"measurements": [report.as_dict() for report in reports], **more}
    return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def to_csv(reports: Sequence[Report]) -> bytes:
    """One row for each measurement and endpoint, and one for all endpoints together."""
    written = io.StringIO()
    rows = [row for report in reports for row in _rows(report)]
    writer = csv.DictWriter(written, rows[0] if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return written.getvalue().encode()


def to_hdr(reports: Sequence[Report]) -> bytes:
    """The latencies of all measurements, in microseconds."""
    return merged(report.total.latency for report in reports).distribution().encode()


def write(file: Path, content: bytes) -> None:
    """Write a result.

    Raises:
        LoadError: it cannot be written there.
    """
    try:
        file.write_bytes(content)
    except OSError as error:
        raise LoadError(f"cannot write {file}: {error.strerror or error}") from None


def _rows(report: Report) -> list[dict[str, Any]]:
    load = report.load
    asked = (
        {"loop": "closed", "concurrency": load.concurrency, "rate": "", "arrival": ""}
        if isinstance(load, Closed)
        else {"loop": "open", "concurrency": "", "rate": load.rate, "arrival": load.arrival}
    )
    seen: list[tuple[str, Counted]] = [(EVERY_ENDPOINT, report.total), *report.endpoints.items()]
    rows = []
    for name, counted in seen:
        figures = report.figures(counted)
        latency, service = figures["latency_ms"], figures["service_ms"]
        row = {**asked, "endpoint": name, "seconds": round(report.seconds, 6)}
        for key in ("requests", "failed", "requests_per_s", "images_per_s", "accuracy"):
            row[key] = figures[key]
        row |= {f"latency_{figure}_ms": value for figure, value in latency.items()}
        row |= {f"service_{figure}_ms": value for figure, value in service.items()}
        rows.append(row)
    return rows


def verdict_json(verdict: Verdict) -> bytes:
    """What MLPerf's LoadGen said."""
    return orjson.dumps(verdict, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
