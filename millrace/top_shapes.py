"""Two shapes that rich lacks, for ``top_view``: a bar of two shades, and a cut to the window."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.style import Style
from rich.text import Text


@dataclass(frozen=True, slots=True)
class Bar:
    """As wide as its column: solid is in use, shaded what would be at the bottleneck's pace.

    Args:
        used: 0 to 1.
        needed: 0 to 1.
        style: of both.
    """

    used: float | None
    needed: float | None = None
    style: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        solid, shade = "#-" if options.ascii_only else "█░"
        used = _cells(self.used, width)
        needed = max(0, _cells(self.needed, width) - used)
        yield Text(solid * used + shade * needed, self.style, no_wrap=True)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(4, options.max_width)


def _cells(share: float | None, width: int) -> int:
    return round(min(1.0, max(0.0, share or 0.0)) * width)


@dataclass(frozen=True, slots=True)
class Cut:
    """As many lines as the window has, and how many more there are."""

    content: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height, style = options.height, Style.parse("dim")
        lines = console.render_lines(self.content, options.update(height=None), pad=False)
        if height is not None and len(lines) > height:
            hidden = len(lines) - height + 1
            more = f"{hidden} more lines: make the window taller"[: options.max_width]
            lines = [*lines[: height - 1], [Segment(more, style)]]
        for line in lines:
            yield from line
            yield Segment.line()
