"""``millrace rollout``: a registered version gets the requests step by step, or none."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import click

from millrace.cli import ANSWER_IS_NO, CANNOT, OK
from millrace.models_registry import cache_option, json_option, registry_option, waiting
from millrace.refusal import Refusal
from millrace.rollout_options import given_site, site_options
from millrace.rollout_output import print_status, progress, status_row, tell
from millrace.rollout_wishes import (
    abort_command,
    kept_state,
    pause_command,
    promote_command,
    resume_command,
    until_told,
)
from model_store.registry.address import registry_uri
from model_store.registry.cache import Cache
from model_store.registry.reference import parse_model
from model_store.registry.versions import Registry
from rollout.aliases import find_candidate
from rollout.errors import NotFoundError, PlanError
from rollout.lease import holder_name
from rollout.plan import Plan, read_plan
from rollout.run import roll_out
from rollout.sites import open_ledger, open_parts
from rollout.state import Outcome, State
from rollout.types import Ledger, Version


@click.group("rollout")
def command() -> None:
    """Give a registered version the requests step by step as it proves itself, or take it back.

    On an InferenceService of the cluster, or with --pod on pods that run here. What each step must
    prove stands in plan.yaml: docs/rollout.md.
    """


for _each in (pause_command, resume_command, promote_command, abort_command):
    command.add_command(_each)


@command.command("start")
@click.argument("name")
@click.argument("version", metavar="models:/MODEL@ALIAS")
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(path_type=Path),
    help="Steps and limits.  [default: 5, 25, 50 and 100 %, a minute each]",
)
@click.option(
    "--against",
    metavar="NUMBER",
    default="",
    help="The version that it was compared with: where another one is served by now, nothing is "
    "begun.",
)
@click.option(
    "--detach",
    type=click.Path(path_type=Path),
    metavar="LOG",
    help="Go on in the background, with its output in this file.",
)
@site_options
@registry_option
@cache_option
@click.pass_context
def start_command(
    ctx: click.Context,
    /,
    name: str,
    version: str,
    plan_file: Path | None,
    against: str,
    detach: Path | None,
    registry: str,
    cache: Path,
    **options: object,
) -> None:
    """Roll models:/MODEL@ALIAS out where NAME is served; goes on with what a killed one has left.

    NAME is the InferenceService, or the model that the pods serve. Ctrl-C and SIGTERM leave it as
    it stands: the same command goes on. Exit codes: 0 promoted, 1 aborted, 2 cannot.
    """
    if detach is not None:
        click.echo(f"goes on as process {_in_background(detach)}; its output is in {detach}")
        return
    site = given_site(options)
    source = Registry(registry_uri(registry))
    ledger = open_ledger(site, name)
    candidate = _candidate(source, version, ledger)
    plan = _plan(plan_file, ledger, candidate)
    clock = until_told()
    with open_parts(site, name, candidate.name, plan, source, Cache(cache)) as parts:
        click.echo(f"{candidate.uri} on {parts.place.title}")
        with waiting("looking") as shown:
            state = roll_out(
                parts,
                candidate,
                plan,
                holder=holder_name(),
                clock=clock,
                tell=tell,
                watch=lambda state: shown.update(progress(state, clock.now())),
                against=against,
            )
    ctx.exit(_code(state))


@command.command("status")
@click.argument("name")
@site_options
@json_option
def status_command(name: str, as_json: bool, **options: object) -> None:
    """Show where the rollout of NAME is, what it has seen, and who carries it out."""
    state = _state(open_ledger(given_site(options), name), name)
    if as_json:
        click.echo(json.dumps(status_row(name, state, time.time())))
    else:
        print_status(name, state, time.time())


def _candidate(registry: Registry, uri: str, ledger: Ledger) -> Version:
    """The version that is meant; one that was left at the very end has lost its alias already.

    Raises:
        NotFoundError: there is no such version.
    """
    try:
        return find_candidate(registry, uri)
    except NotFoundError:
        state, wanted = kept_state(ledger), parse_model(uri)
        if state is None or state.done or not wanted.alias or wanted.name != state.candidate.name:
            raise
        return state.candidate.version_of


def _state(ledger: Ledger, name: str) -> State:
    state = kept_state(ledger)
    if state is None:
        raise NotFoundError(f"there has been no rollout of {name} here")
    return state


def _plan(file: Path | None, ledger: Ledger, candidate: Version) -> Plan:
    """The plan of the file; where a rollout of the candidate is under way, the one it began with.

    Raises:
        PlanError: they differ.
    """
    plan = Plan() if file is None else read_plan(file)
    state = kept_state(ledger)
    if state is None or state.done or not state.candidate.names(candidate):
        return plan
    if file is not None and plan != state.plan:
        raise PlanError(
            f"{file}: the rollout of {candidate.uri} began with another plan: leave --plan out to "
            "go on with it, or abort it first"
        )
    return state.plan


def _code(state: State) -> int:
    if not state.done:
        return CANNOT
    return OK if state.outcome is Outcome.PROMOTED else ANSWER_IS_NO


def _in_background(log: Path) -> int:
    """Start this very command without ``--detach``; its process."""
    words = iter(sys.argv[1:])
    kept = []
    for word in words:
        if word == "--detach":
            next(words)
        elif not word.startswith("--detach="):
            kept.append(word)
    try:
        with log.open("ab") as out:
            started = subprocess.Popen(  # noqa: S603 (this program)
                [sys.executable, "-m", "millrace", *kept],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    except OSError as error:
        raise Refusal(f"{log}: cannot be written: {error.strerror}") from error
    return started.pid
