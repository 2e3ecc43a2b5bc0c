"""``millrace study fleet``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from millrace.numbers import Number, Numbers
from millrace.output import print_table
from millrace.study_output import progress, refusals, require
from study.fleet_plan import FleetPlan, read_plan

if TYPE_CHECKING:
    from study.fleet_study import FleetStudy

PODS = Numbers(Number(1, 1_000_000, whole=True), 100)


def _fleet_flags(function: Callable[..., Any]) -> Callable[..., Any]:
    """One option for each assumption, which is None where it is not given."""
    for name, field in reversed(FleetPlan.model_fields.items()):
        shown = ",".join(map(str, field.default)) if name == "pods" else field.default
        function = click.option(
            f"--{name.replace('_', '-')}",
            name,
            default=None,
            type=PODS if name == "pods" else str,
            metavar="VALUE",
            help=f"{field.description}.  [default: {shown}]",
        )(function)
    return function


@click.command("fleet")
@_fleet_flags
@click.option("--config", type=click.Path(path_type=Path), help="YAML file of the same names.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--chart", type=click.Path(path_type=Path), help="Draw the day into this file.")
def fleet_command(
    *, config: Path | None, as_json: bool, as_csv: bool, chart: Path | None, **given: Any
) -> None:
    """Fleets of 10 to 10,000 pods behind one gateway over a day, and what a million images cost.

    All simulated: load that comes and goes, an autoscaler, cold starts and pods that are lost.
    Prints every assumption with its source.
    """
    from study.fleet_study import study_fleets

    with refusals():
        require(chart)
        plan = read_plan(
            config, {name: value for name, value in given.items() if value is not None}
        )
        found = study_fleets(plan, progress.print)
        _show(found, as_json=as_json, as_csv=as_csv)
        if chart:
            from study.chart import draw_fleets

            draw_fleets(found, chart)


def _show(found: FleetStudy, *, as_json: bool, as_csv: bool) -> None:
    from study import fleet_report

    if as_json:
        click.echo(json.dumps(fleet_report.as_dict(found)))
    elif as_csv:
        click.echo(fleet_report.as_csv(found), nl=False)
    else:
        for table in fleet_report.tables(found):
            print_table(table)
