"""``millrace rollout pause|resume|promote|abort``: what the one that carries it out is asked."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import click

from millrace.cli import ANSWER_IS_NO, OK
from millrace.models_registry import cache_option, registry_option
from millrace.rollout_options import given_site, site_options
from millrace.rollout_output import tell
from model_store.errors import ModelStoreError
from model_store.registry.address import DEFAULT_URI, registry_uri
from model_store.registry.cache import Cache
from model_store.registry.versions import Registry
from rollout.clock import WallTime
from rollout.lease import held, holder_name, wish
from rollout.left import take_back
from rollout.plan import Dark, Plan
from rollout.run import roll_out
from rollout.sites import Site, left_candidate, open_ledger, open_parts
from rollout.state import Outcome, Phase, State, Wish, read_state
from rollout.types import Ledger, Version

POLL_S = 0.5


@click.command("pause")
@click.argument("name")
@site_options
@click.pass_context
def pause_command(ctx: click.Context, /, name: str, **options: object) -> None:
    """Keep the rollout of NAME where it is; a candidate that fails comes back all the same."""
    state = _wished(open_ledger(given_site(options), name), Wish.PAUSE)
    ctx.exit(OK if state.paused or state.wish else ANSWER_IS_NO)


@click.command("resume")
@click.argument("name")
@site_options
@click.pass_context
def resume_command(ctx: click.Context, /, name: str, **options: object) -> None:
    """Go on with the rollout of NAME; the step it is in begins anew."""
    state = _wished(open_ledger(given_site(options), name), Wish.RESUME)
    ctx.exit(ANSWER_IS_NO if state.paused and not state.wish else OK)


@click.command("promote")
@click.argument("name")
@site_options
@click.pass_context
def promote_command(ctx: click.Context, /, name: str, **options: object) -> None:
    """Promote the candidate of NAME now, without the steps that are left.

    Exit code 1 when it is not ready, or has surely missed a limit.
    """
    state = _wished(open_ledger(given_site(options), name), Wish.PROMOTE)
    going = state.phase is Phase.PROMOTING or state.outcome is Outcome.PROMOTED
    ctx.exit(OK if going or state.wish else ANSWER_IS_NO)


@click.command("abort")
@click.argument("name")
@site_options
@registry_option
@cache_option
@click.pass_context
def abort_command(
    ctx: click.Context, /, name: str, registry: str, cache: Path, **options: object
) -> None:
    """Send all requests of NAME back to the stable version, and let the candidate go.

    Carries it out itself where nobody else does. Exit code 1 when it is promoted already.
    """
    site = given_site(options)
    ledger = open_ledger(site, name)
    left = left_candidate(site, name) if kept_state(ledger) is None else None
    if left is not None:
        _take_back(site, name, left, Cache(cache))
        ctx.exit(OK)
    state = _wished(ledger, Wish.ABORT)
    if state.wish is not None:
        source = _registry(registry, state)
        plan = state.plan.model_copy(update={"dark": Dark(), "shadow": None})  # asks no images
        with open_parts(
            site, name, state.candidate.name, plan, source, Cache(cache), measuring=False
        ) as parts:
            state = roll_out(parts, None, plan, holder=holder_name(), clock=until_told(), tell=tell)
        ctx.exit(OK if state.outcome is Outcome.ABORTED else ANSWER_IS_NO)
    going = state.phase is Phase.ABORTING or state.outcome is Outcome.ABORTED
    ctx.exit(OK if going else ANSWER_IS_NO)


def _take_back(site: Site, name: str, candidate: Version, cache: Cache) -> None:
    """End a rollout of which the place alone remembers something."""
    with open_parts(site, name, candidate.name, Plan(), None, cache, measuring=False) as parts:
        take_back(parts.place, candidate, until_told(), click.echo)
        click.echo(
            f"version {candidate.version} has no requests any more, version "
            f"{parts.place.stable()} has them all; the rollout's state was deleted, so no registry "
            "is told"
        )


def _registry(given: str, state: State) -> Registry | None:
    """The one that is named, else the one that the rollout began with.

    Requests go back without one as well, so what is wrong with it must not hinder that.
    """
    uri = registry_uri(given)
    if uri == DEFAULT_URI and state.registry:
        uri = state.registry
    try:
        return Registry(uri)
    except ModelStoreError as error:
        click.echo(f"goes on without the registry: {error}")
        return None


def _wished(ledger: Ledger, wanted: Wish) -> State:
    """Ask for it, and wait until whoever carries the rollout out has obeyed.

    Returns:
        The state then; ``wish`` still stands in it if nobody carries it out.
    """
    asked = wish(ledger, wanted)
    known = len(asked.events)
    state = asked
    while state.wish is wanted and held(state, time.time()):
        time.sleep(POLL_S)
        state = kept_state(ledger) or state
    if state.wish is wanted:
        click.echo(f"nobody carries it out: to {wanted} is what `millrace rollout start` does next")
    for event in state.events[known:]:
        tell(event)
    return state


def kept_state(ledger: Ledger) -> State | None:
    """What is kept; None if there has been no rollout."""
    kept = ledger.read()
    return None if kept is None else read_state(kept.state)


def until_told() -> WallTime:
    """A clock that SIGTERM and Ctrl-C stop."""
    clock = WallTime()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: clock.stop())
    return clock
