"""``millrace pipeline``: from a network to all of the traffic, here or on a cluster."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from millrace.cli import ANSWER_IS_NO, CANNOT
from millrace.output import print_table
from millrace.pipeline_options import arguments, with_options
from millrace.refusal import Refusal
from model_store.registry.address import registry_uri, shown
from pipelines.errors import PipelineError

if TYPE_CHECKING:
    from pipelines.definition import Cluster
    from pipelines.local_run import LocalRun
    from pipelines.steps.telling import Said

_EXIT_CODES = {"promoted": 0, "refused": ANSWER_IS_NO, "aborted": ANSWER_IS_NO}
_CLUSTER_OPTIONS: tuple[Callable[..., Any], ...] = (
    click.option("--image", default="", help="Of all steps.  [default: image/build.sh's]"),
    click.option(
        "--registry-secret",
        default="millrace-registry",
        show_default=True,
        help="Secret with MLFLOW_TRACKING_TOKEN, or _USERNAME and _PASSWORD.",
    ),
    click.option(
        "--volume",
        default="millrace-data",
        show_default=True,
        help="PersistentVolumeClaim with networks, images and datasets, mounted at /mnt/millrace.",
    ),
    click.option("--cpus", default="2", show_default=True, help="Limit of each step."),
    click.option("--memory", default="4Gi", show_default=True, help="Limit of each step."),
    click.option("--gpus", default=0, show_default=True, help="Of each step that measures."),
    click.option("--gpu", default="nvidia.com/gpu", show_default=True, help="Its resource name."),
)


def _with_cluster(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_CLUSTER_OPTIONS):
        command = option(command)
    return command


@click.group("pipeline")
def command() -> None:
    """Package, analyze, gate, register, roll out, promote: one run, and back by itself.

    docs/pipeline.md has the picture, the parameters, and what to do when a step says no.
    """


@command.command("run")
@with_options
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="var/pipeline",
    show_default=True,
    help="Folder of what steps write, their log, and the cache.",
)
@click.option("--no-cache", is_flag=True, help="Package and analyze again what was before.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@click.pass_context
def run_command(
    context: click.Context, /, out: Path, no_cache: bool, as_json: bool, **given: Any
) -> None:
    """Run all steps here and now, each as a process.

    Exit codes: 0 promoted, 1 the gate or the rollout says no, 2 a step failed.
    """
    with _explained():
        from pipelines.local_run import run_here

        wanted = arguments(**given)
        wanted["registry"] = by_environment(registry_uri(wanted["registry"]))
        console = Console(stderr=True, highlight=False)
        done = run_here(wanted, out, lambda said: _show(console, said), cached=not no_cache)
    if as_json:
        click.echo(json.dumps(_as_json(done), ensure_ascii=False))
    else:
        _print(done, registry_uri(wanted["registry"]))
    code = _EXIT_CODES.get(done.conclusion.outcome, CANNOT)
    if code:
        context.exit(code)


@command.command("compile")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_with_cluster
def compile_command(file: Path, **given: Any) -> None:
    """Write the pipeline as KFP's IR YAML into FILE."""
    with _explained():
        from pipelines.compilation import write

        write(_cluster(given), file)
    click.echo(file)


@command.command("submit")
@with_options
@_with_cluster
@click.option("--host", "kfp_host", required=True, metavar="URL", help="The KFP server.")
@click.option("--kfp-namespace", default="", help="Of the run, where KFP serves several users.")
@click.option("--experiment", default="millrace", show_default=True, help="Of KFP.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    help="File with a bearer token.  [default: the one projected for KFP, if there is one]",
)
@click.option(
    "--service-account",
    default="millrace-pipeline",
    show_default=True,
    help="That the steps' pods run as.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def submit_command(
    kfp_host: str,
    kfp_namespace: str,
    experiment: str,
    token_file: Path | None,
    service_account: str,
    as_json: bool,
    **given: Any,
) -> None:
    """Have a KFP server run it; paths are those that steps see, under /mnt/millrace."""
    with _explained():
        from pipelines.submission import Target, submit

        fixed = ("image", "registry_secret", "volume", "cpus", "memory", "gpus", "gpu")
        cluster = _cluster({key: given.pop(key) for key in fixed})
        wanted = arguments(**given)
        if shown(wanted["registry"]) != wanted["registry"]:
            raise PipelineError(
                f"--registry: leave name and password out: {cluster.registry_secret} gives them to "
                "the steps (docs/pipeline.md), and KFP shows parameters to everybody"
            )
        if not wanted["registry"]:
            del wanted["registry"]  # the pipeline's own default is the cluster's
        target = Target(kfp_host, kfp_namespace, experiment, token_file, service_account)
        made = submit(wanted, cluster, target, f"{wanted['name']} {wanted['source']}")
    if as_json:
        click.echo(json.dumps({"run_id": made.run_id, "page": made.page}))
    else:
        click.echo(f"run {made.run_id}: {made.page}")


def by_environment(uri: str) -> str:
    """The parameter that names the registry: credentials go to the steps by the environment.

    KFP writes parameters into its log and its files.
    """
    if shown(uri) == uri:
        return uri
    os.environ["MILLRACE_REGISTRY"] = uri
    return ""


def _cluster(given: dict[str, Any]) -> Cluster:
    from pipelines.definition import Cluster

    return Cluster(**{key: value for key, value in given.items() if value != ""})


@contextmanager
def _explained() -> Iterator[None]:
    """What the pipelines refuse, in one line, and what is not installed."""
    try:
        yield
    except ImportError as error:
        raise Refusal(
            f"needs {error.name}: install millrace[pipelines,analyzer,registry,rollout]"
        ) from error
    except PipelineError as error:
        raise Refusal(str(error)) from error


def _show(console: Console, said: Said) -> None:
    label = f"{said.step} {said.about}".strip()
    text = f"{said.state} {said.text}".strip() if said.state else said.text
    console.print(Text(f"{label:>16}  {text}"), soft_wrap=True)


def _print(done: LocalRun, registry: str) -> None:
    table = Table("step", "outcome", "seconds", "files", box=None)
    for each in done.steps:
        said = each.said
        files = ", ".join(str(path.relative_to(done.folder)) for path in each.files)
        label = f"{said.step} {said.about}".strip()
        outcome = f"{said.state}: {said.text}" if said.text else said.state
        table.add_row(Text(label), Text(outcome), f"{said.seconds:.1f}", Text(files))
    print_table(table)
    ended = done.conclusion
    version = f"version {ended.version}" if ended.version else "no version"
    click.echo(f"{ended.outcome}, {version}: {ended.why}")
    click.echo(f"MLflow run {ended.run_id} at {shown(registry)}; files and log in {done.folder}")


def _as_json(done: LocalRun) -> dict[str, Any]:
    return {
        "outcome": done.conclusion.outcome,
        "why": done.conclusion.why,
        "version": done.conclusion.version,
        "mlflow_run": done.conclusion.run_id,
        "folder": str(done.folder),
        "steps": [
            {
                "step": each.said.step,
                "about": each.said.about,
                "state": each.said.state,
                "seconds": each.said.seconds,
                "text": each.said.text,
                "files": [str(path) for path in each.files],
            }
            for each in done.steps
        ],
    }
