"""Docs cannot lie: what they show is run, what they list is compared."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from millrace.cli import COMMANDS, commands
from millrace.settings import markdown_table, settings_table

ROOT = Path(__file__).parents[2]
DOCS = sorted(ROOT.glob("docs/*.md"))
COMMAND = re.compile(r"\.?(?:\.venv/bin/)?millrace (\w+)((?:[^\n]|\\\n)*)")

SUBCOMMAND = re.compile(
    r"^ (list|show|verify|register|promote|rollback|alias|scaling|fleet|start|status|pause|resume"
    r"|abort|run|compile|submit)\b"
)


def test_the_table_of_settings_is_the_one_in_the_code():
    """``millrace settings --markdown`` written into docs/settings.md."""
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")

    assert text.endswith(markdown_table(settings_table()) + "\n")


@pytest.mark.parametrize("page", [ROOT / "README.md", *DOCS], ids=lambda page: page.name)
def test_every_link_between_pages_leads_somewhere(page):
    """Relative links only."""
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))

    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", [ROOT / "README.md", *DOCS], ids=lambda page: page.name)
def test_every_command_and_flag_shown_exists(page):
    """By the commands' own help."""
    unknown = []
    for line in re.findall(r"^\$ ((?:\\\n|.)*)", page.read_text(encoding="utf-8"), re.MULTILINE):
        match = COMMAND.match(line)
        if match is None:
            continue
        name, rest = match.groups()
        if name not in COMMANDS:
            unknown.append(name)
            continue
        path = [name, *SUBCOMMAND.findall(rest)]
        help_text = CliRunner().invoke(commands, [*path, "--help"]).output
        unknown += [flag for flag in re.findall(r"--[\w-]+", rest) if flag not in help_text]
    assert unknown == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_worth_reading(name):
    """More than a usage line."""
    ran = CliRunner().invoke(commands, [name, "--help"])

    assert ran.exit_code == 0
    assert len(ran.output.splitlines()) > 5


def test_every_metric_in_the_docs_is_counted_and_the_other_way_round():
    """docs/operations.md against predictor/metrics.py."""
    documented = set(
        re.findall(r"`(millrace_\w+)\{", (ROOT / "docs" / "operations.md").read_text("utf-8"))
    )
    code = "import predictor.metrics as m, prometheus_client as p\n" + (
        "print(*(f.name + ('_total' if f.type == 'counter' else '')"
        " for f in p.REGISTRY.collect() if f.name.startswith('millrace_')), *m.COMPUTED)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert documented == set(ran.stdout.split())
