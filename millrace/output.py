"""Tables on the terminal."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

PIPE_COLUMNS = 500  # a pipe has no width; cutting paths to 80 columns there would serve nobody


def print_table(table: Table) -> None:
    """Print to stdout, as wide as the terminal, or as wide as it takes."""
    Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS).print(table)
