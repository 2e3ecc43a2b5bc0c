"""``millrace settings``: the one table of settings."""

from __future__ import annotations

import json
from typing import Any, Literal, get_args, get_origin

import click
from pydantic.fields import FieldInfo
from rich.table import Table
from rich.text import Text

from millrace.output import print_table
from predictor.settings import Settings

BOUNDS = {"ge": "≥ {}", "gt": "> {}", "le": "≤ {}", "lt": "< {}"}


@click.command(name="settings", short_help="print every setting")
@click.option("--json", "as_json", is_flag=True, help="as a JSON list")
@click.option("--markdown", is_flag=True, help="as docs/settings.md has it")
def command(as_json: bool, markdown: bool) -> None:
    """Print every setting with its environment variable, default, bounds and meaning."""
    rows = settings_table()
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif markdown:
        click.echo(markdown_table(rows))
    else:
        table = Table("setting", "environment", "default", "bounds", "meaning", box=None)
        for row in rows:
            table.add_row(*map(Text, row.values()))
        print_table(table)


def settings_table() -> list[dict[str, str]]:
    """One row per setting, all texts."""
    return [
        {
            "setting": name,
            "environment": f"MILLRACE_{name.upper()}",
            "default": str(field.default),
            "bounds": _bounds(field),
            "meaning": field.description or "",
        }
        for name, field in Settings.model_fields.items()
    ]


def markdown_table(rows: list[dict[str, str]]) -> str:
    """The rows as a Markdown table."""
    lines = ["| setting | default | bounds | meaning |", "| --- | --- | --- | --- |"]
    lines += [
        f"| `{row['setting']}` | `{row['default']}` | {row['bounds']} | {row['meaning']} |"
        for row in rows
    ]
    return "\n".join(lines)


def _bounds(field: FieldInfo) -> str:
    annotation: Any = field.annotation
    if get_origin(annotation) is Literal:
        return ", ".join(get_args(annotation))
    parts = [
        text.format(getattr(limit, name))
        for limit in field.metadata
        for name, text in BOUNDS.items()
        if getattr(limit, name, None) is not None
    ]
    return ", ".join(parts)
