"""The way to the cluster: the pod's own service account, or a kubeconfig."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rollout.errors import RolloutError

if TYPE_CHECKING:
    from kubernetes.client import ApiClient, Configuration

IN_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def login(context: str | None, kubeconfig: Path | None) -> tuple[ApiClient, str]:
    """A client, and the namespace that is meant where none is said.

    Args:
        context: of the kubeconfig; None is its current one.
        kubeconfig: None is KUBECONFIG's or ~/.kube/config, or inside of a pod its service account.

    Raises:
        RolloutError: there is no way to a cluster; says what was tried.
    """
    from kubernetes import client, config

    settings = client.Configuration()
    # What was not answered is asked again by the rollout, which knows what may be asked twice.
    settings.retries = False
    try:
        if context is None and kubeconfig is None and (IN_POD / "token").is_file():
            config.load_incluster_config(client_configuration=settings)
            namespace = (IN_POD / "namespace").read_text(encoding="utf-8").strip()
        else:
            namespace = _from_file(settings, context, kubeconfig)
    except (config.ConfigException, OSError) as error:
        raise RolloutError(
            f"no way to a cluster: {error}; name a kubeconfig (--kubeconfig) and one of its "
            "contexts (--context), or run in a pod with a service account"
        ) from error
    return client.ApiClient(settings), namespace


def _from_file(settings: Configuration, context: str | None, kubeconfig: Path | None) -> str:
    from kubernetes import config

    file = None if kubeconfig is None else str(kubeconfig)
    config.load_kube_config(
        config_file=file, context=context, client_configuration=settings, persist_config=False
    )
    contexts, current = config.list_kube_config_contexts(config_file=file)
    chosen = next((each for each in contexts if each["name"] == context), current)
    return str(chosen["context"].get("namespace") or "default")
