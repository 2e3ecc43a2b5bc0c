"""What ``millrace load`` prints and writes."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from loadgen import files
from loadgen.errors import LoadError
from loadgen.mlperf import Verdict
from loadgen.report import Report
from loadgen.table import tables
from millrace.load_options import STDOUT, Options
from millrace.output import print_table


def show(reports: Sequence[Report], options: Options, more: dict[str, Any]) -> None:
    """Write the files that were asked for, print the table, and say what is to be said of them.

    Files first: a table that cannot be printed must not cost the results. Nor must a file that
    cannot be written cost the others.

    Args:
        reports: all there are.
        options: where to.
        more: for JSON; ``missed`` is also said on stderr.

    Raises:
        LoadError: a file could not be written; all else has been done.
    """
    failed: list[LoadError] = []
    if options.json is not None:
        with _noting(failed):
            _write(options.json, files.to_json(reports, **more))
    if options.csv is not None:
        with _noting(failed):
            _write(options.csv, files.to_csv(reports))
    if options.hdr is not None:
        with _noting(failed):
            _write(options.hdr, files.to_hdr(reports))
    if not options.to_stdout:
        for table in tables(reports):
            print_table(table)
    for report in reports:
        for note in report.notes:
            click.echo(f"{report.load}: {note}", err=True)
    for miss in more.get("missed", ()):
        click.echo(f"missed: {miss}", err=True)
    if failed:
        raise failed[0]


def show_verdict(verdict: Verdict, options: Options) -> None:
    """What MLPerf's LoadGen said."""
    if options.json is not None:
        _write(options.json, files.verdict_json(verdict))
    if not options.to_stdout:
        click.echo(verdict.text)
        click.echo(f"samples: {verdict.samples}, failed: {sum(verdict.failed.values())}")
        if verdict.judged:
            click.echo(f"accuracy: {verdict.right / verdict.judged:.2%} of {verdict.judged}")


@contextmanager
def _noting(failed: list[LoadError]) -> Iterator[None]:
    try:
        yield
    except LoadError as error:
        failed.append(error)


def _write(file: Path, content: bytes) -> None:
    if file == STDOUT:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    else:
        files.write(file, content)
