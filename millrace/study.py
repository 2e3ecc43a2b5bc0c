"""``millrace study``: how far it scales, on real pods and beyond them."""

from __future__ import annotations

import click

from millrace.study_fleet import fleet_command
from millrace.study_scaling import scaling_command


@click.group("study")
def command() -> None:
    """Study how far it scales, on real pods and on simulated ones.

    What is real, what is simulated, and every assumption: docs/study.md.
    """


command.add_command(scaling_command)
command.add_command(fleet_command)
