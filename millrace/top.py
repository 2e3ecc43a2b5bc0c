"""``millrace top``: where the time of a pod goes, live on the terminal."""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Sequence
from urllib.parse import urlsplit

import click
from rich.console import Console
from rich.live import Live

from millrace.cli import CANNOT
from millrace.top_report import Sight
from millrace.top_source import Pod, PodError, Watch, ask, ask_report
from millrace.top_view import view

REDRAW_S = 0.5  # at least that often, so that a resized window is filled again


def _read_urls(
    context: click.Context, option: click.Parameter, urls: tuple[str, ...]
) -> tuple[str, ...]:
    whole = tuple(url if "://" in url else f"http://{url}" for url in urls)
    for url in whole:
        try:
            parts = urlsplit(url)
            known = parts.scheme in ("http", "https") and bool(parts.hostname)
            _ = parts.port  # raises where it is no port
        except ValueError:
            known = False
        if not known or not url.isascii() or not url.isprintable() or " " in url:
            raise click.BadParameter(f"{url!r} is not like http://127.0.0.1:8080")
    return tuple(url.rstrip("/") for url in whole)


@click.command(name="top", short_help="watch a pod: its stages and the one that limits it")
@click.option(
    "--url",
    "urls",
    multiple=True,
    default=("http://127.0.0.1:8080",),
    show_default=True,
    callback=_read_urls,
    help="Of a pod's HTTP port; again for each further pod.",
)
@click.option("--model", help="Name of the model; default: the only one that the pod has.")
@click.option("--version", help="Version of the model; default: the one that is served.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=1.0,
    show_default=True,
    help="Seconds from one answer to the next question.",
)
@click.option("--once", is_flag=True, help="Print one snapshot, as where there is no terminal.")
@click.option("--json", "as_json", is_flag=True, help="Print what each pod answers, one a line.")
@click.pass_context
def command(
    context: click.Context,
    urls: tuple[str, ...],
    model: str | None,
    version: str | None,
    interval: float,
    once: bool,
    as_json: bool,
) -> None:
    """Watch pods: what each stage could do, which one limits, and what would help. Ctrl-C leaves.

    A solid bar is what is in use now; a shaded one what would be if the pod did all that its
    slowest stage can. A pod that does not answer is asked again; printed once, it is exit code 2.
    """
    pods = [Pod(url, model, version) for url in urls]
    console = _console()
    if as_json:
        _exit(context, _print_json(pods))
    elif once or not sys.stdout.isatty() or console.is_dumb_terminal:
        _exit(context, _print_snapshot(pods, console))
    else:
        _show(pods, interval, console)


def _console() -> Console:
    # A model's name may have letters that the terminal's encoding lacks.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    return Console(highlight=False)


def _exit(context: click.Context, problems: Sequence[PodError]) -> None:
    for problem in problems:
        click.echo(f"millrace: {problem}", err=True)
    if problems:
        context.exit(CANNOT)


def _print_json(pods: Sequence[Pod]) -> list[PodError]:
    problems = []
    for pod in pods:
        try:
            click.echo(ask(pod).replace("\n", " ").strip())
        except PodError as problem:
            problems.append(problem)
    return problems


def _print_snapshot(pods: Sequence[Pod], console: Console) -> list[PodError]:
    sights, problems = [], []
    for pod in pods:
        try:
            sights.append(Sight(pod.url, ask_report(pod)))
        except PodError as problem:
            problems.append(problem)
    if sights:
        console.print(view(sights, console.width))
    return problems


def _show(pods: Sequence[Pod], interval_s: float, console: Console) -> None:
    # SIGTERM leaves as Ctrl-C does: a terminal left on the other screen is of no use to anyone.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with (
            Watch(pods, interval_s) as watch,
            Live(
                get_renderable=lambda: view(watch.sights(), console.width),
                console=console,
                screen=True,
                auto_refresh=False,
            ) as live,
        ):
            while True:
                watch.news.wait(REDRAW_S)
                watch.news.clear()
                live.refresh()
    except KeyboardInterrupt:
        return
