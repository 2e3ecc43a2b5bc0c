"""Where a rollout happens, as options of every ``millrace rollout`` command."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from millrace.refusal import Refusal
from rollout.sites import Pods, Service, Site

_Command = TypeVar("_Command", bound=Callable[..., Any])
_PATH = click.Path(path_type=Path)
_OF_PODS = {"pod", "pod_store", "repository_token_file"}
_OPTIONS = (
    click.option("--namespace", help="Of the InferenceService.  [default: the kubeconfig's]"),
    click.option("--context", help="Of the kubeconfig."),
    click.option("--kubeconfig", type=_PATH, help="[default: KUBECONFIG, ~/.kube/config, or the "
                 "pod's service account]"),
    click.option("--prometheus", metavar="URL", help="Counts the requests.  [default: the "
                 "Prometheus operator's in the cluster]"),
    click.option("--prometheus-token-file", type=_PATH, help="A bearer token for it."),
    click.option("--host", help="Name that clients use, where no route has it yet."),
    click.option("--gateway", metavar="NAMESPACE/NAME", help="Of a route that has to be made."),
    click.option("--gateway-address", metavar="URL", help="Where names cannot be resolved."),
    click.option("--keep-name", is_flag=True, help="Promote by replacing the stable version's "
                 "pods, which keep their names."),
    click.option("--pod", metavar="URL", multiple=True, help="Instead of a cluster: a pod that "
                 "runs here. Repeatable."),
    click.option("--pod-store", type=_PATH, help="The folder in which pods find their packages."),
    click.option("--repository-token-file", type=_PATH, help="The token of the pods' repository."),
)  # fmt: skip


def site_options(command: _Command) -> _Command:
    """Add them to a command, which gets them as keywords for ``given_site``."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def given_site(options: Mapping[str, Any]) -> Site:
    """Where it happens.

    Raises:
        Refusal: options of a cluster and of pods are mixed, or one is missing.
    """
    given = {name for name, value in options.items() if value}
    if not given & _OF_PODS:
        return Service(
            namespace=options["namespace"],
            context=options["context"],
            kubeconfig=options["kubeconfig"],
            prometheus=options["prometheus"] or "",
            prometheus_token_file=options["prometheus_token_file"],
            host=options["host"],
            gateway=options["gateway"],
            address=options["gateway_address"],
            keep_name=options["keep_name"],
        )
    if others := given - _OF_PODS:
        flags = ", ".join(f"--{each.replace('_', '-')}" for each in sorted(others))
        raise Refusal(f"{flags}: of a cluster, and --pod is none; leave one of them out")
    if not (options["pod"] and options["pod_store"]):
        raise Refusal("pods are given by --pod and --pod-store, both of them")
    return Pods(options["pod"], options["pod_store"], options["repository_token_file"])
