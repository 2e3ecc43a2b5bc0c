"""Sections of RESULTS.md, each renewed by the command that measured it."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import psutil

RESULTS = Path(__file__).with_name("RESULTS.md")
VERSIONS = ("kserve", "uvicorn", "uvloop", "grpcio", "onnxruntime", "pillow", "numpy")


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page between two markers."""

    name: str
    command: str  # that writes it

    @property
    def begin(self) -> str:
        """The marker before it."""
        return f"<!-- {self.name}: written by {self.command} --write -->"

    @property
    def end(self) -> str:
        """The marker after it."""
        return f"<!-- end of {self.name} -->"

    def wrap(self, lines: Iterable[str]) -> str:
        """``lines`` between the markers, the machine they were measured on first."""
        return "\n".join([self.begin, machine(), "", *lines, self.end, ""])

    def insert(self, page: str, section: str) -> str:
        """``page`` with this section replaced by ``section``, or ``section`` at its end."""
        before, found, rest = page.partition(self.begin)
        if not found:
            return f"{page.rstrip()}\n\n{section}".lstrip()
        _, _, after = rest.partition(self.end)
        return before + section.rstrip() + after

    def publish(self, lines: Iterable[str], *, write: bool) -> None:
        """Print ``lines`` as this section and, where that is asked for, renew it in RESULTS.md."""
        section = self.wrap(lines)
        click.echo(section)
        if not write:
            return
        page = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else "# Measured\n"
        RESULTS.write_text(self.insert(page, section), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wanted, and what came of it."""

    wanted: str
    reached: str
    holds: bool


def findings(found: Sequence[Finding]) -> list[str]:
    """A table of them, those that do not hold in bold."""
    body = [
        (each.wanted, each.reached if each.holds else f"**not reached**: {each.reached}")
        for each in found
    ]
    return table(("wanted", "reached"), body)


def table(head: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table, one line each."""
    return ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *body)]


def number(value: float | None, digits: int) -> str:
    """With thousands separators; a dash for none."""
    return "-" if value is None else f"{value:,.{digits}f}"


def machine() -> str:
    """One line: when, and on what."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in VERSIONS)
    cores = len(os.sched_getaffinity(0))
    memory_gib = psutil.virtual_memory().total / 2**30
    return (
        f"Measured on {datetime.datetime.now(tz=datetime.UTC):%Y-%m-%d} on {cores} cores "
        f"({_cpu_name()}), {memory_gib:.0f} GiB, {platform.system()} {platform.machine()}; "
        f"Python {platform.python_version()}, {versions}."
    )


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or "unknown processor"
