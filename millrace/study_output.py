"""What the commands of ``millrace study`` share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from millrace.refusal import Refusal
from study.errors import StudyError

progress = Console(stderr=True, highlight=False, soft_wrap=True)


@contextmanager
def refusals() -> Iterator[None]:
    """What a study cannot do is one line and exit code 2."""
    try:
        yield
    except StudyError as error:
        raise Refusal(str(error)) from error


def require(chart: Path | None) -> None:
    """Whether a chart can be drawn is to be known before hours are spent on it.

    Raises:
        StudyError: it cannot.
    """
    if chart is None:
        return
    from study.chart import require_charts

    require_charts(chart)
    if not chart.resolve().parent.is_dir():
        raise StudyError(f"{chart}: there is no such folder")
