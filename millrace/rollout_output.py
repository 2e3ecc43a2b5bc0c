"""What ``millrace rollout`` prints."""

from __future__ import annotations

import datetime
from typing import Any

import click

from rollout.lease import held
from rollout.state import Event, Phase, State

SHOWN_EVENTS = 8


def line(event: Event) -> str:
    """An event on one line, in the time of this machine."""
    at = datetime.datetime.fromtimestamp(event.at, datetime.UTC).astimezone()
    return f"{at:%H:%M:%S}  {event.text}"


def tell(event: Event) -> None:
    """Print it at once, also into a pipe."""
    click.echo(line(event))


def progress(state: State, now: float) -> str:
    """What is going on between two events."""
    if state.trouble:
        return f"{state.where}: {state.trouble}"
    if state.phase is not Phase.STEP or not state.applied:
        return f"{state.where}, {now - state.since:.0f} s"
    hold_s = state.plan.steps[state.step].hold_s
    seen = next((f"; {each.text}" for each in state.verdicts if each.rule == "share"), "")
    paused = ", paused" if state.paused else ""
    return f"{state.where}{paused}, {now - state.since:.0f} of {hold_s:.0f} s{seen}"


def status_row(name: str, state: State, now: float) -> dict[str, Any]:
    """The state as ``--json`` prints it."""
    kept = state.model_dump(mode="json", exclude={"plan"})
    return {"name": name, "where": state.where, "held": held(state, now)} | kept


def print_status(name: str, state: State, now: float) -> None:
    """For people."""
    click.echo(f"{name}: {state.candidate.uri}, in place of version {state.stable}")
    where = state.where + (", paused" if state.paused else "")
    if state.outcome is not None:
        where = f"{state.outcome}" + (f": {state.why}" if state.why else "")
    click.echo(f"phase     {where}")
    seen = "" if state.share_seen is None else f", {state.share_seen * 100:.3g} % seen"
    click.echo(f"share     {state.share_set} % set{seen}")
    if not state.done:
        click.echo(f"held by   {_holder(state, now)}")
    if state.trouble:
        click.echo(f"trouble   {state.trouble}")
    for verdict in state.verdicts:
        click.echo(f"verdict   {verdict.text}")
    for event in state.events[-SHOWN_EVENTS:]:
        click.echo(line(event))


def _holder(state: State, now: float) -> str:
    if held(state, now):
        return f"{state.holder}, {now - state.renewed_at:.0f} s ago"
    return "nobody: `millrace rollout start` goes on with it, `millrace rollout abort` ends it"
