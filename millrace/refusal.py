"""What a command cannot do: one line on stderr, and an exit code."""

from __future__ import annotations

from typing import IO, Any

import click

from millrace.cli import CANNOT


class Refusal(click.ClickException):
    """Wrong usage or environment, in the words of every other command."""

    exit_code = CANNOT

    def show(self, file: IO[Any] | None = None) -> None:
        """Say it."""
        click.echo(f"millrace: {self.message}", file=file, err=file is None)
