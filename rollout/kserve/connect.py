"""From an InferenceService's name to the Place and the Ledger of its rollout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rollout.errors import ForbiddenError, RolloutError, UnreachableError
from rollout.kserve.canary import CanaryPlace
from rollout.kserve.cluster import Cluster
from rollout.kserve.detection import KNATIVE, MODE, STANDARD, deployment_mode, takes_canary
from rollout.kserve.ledger import ConfigMapLedger, is_rollouts
from rollout.kserve.login import login
from rollout.kserve.pair import PairPlace, candidate_name
from rollout.kserve.resources import INFERENCE_SERVICE, SERVICE
from rollout.kserve.routes import Routes
from rollout.kserve.serverless import ServerlessPlace
from rollout.kserve.site import Site
from rollout.kserve.source import Sources
from rollout.types import Ledger, Place

# What the Prometheus operator calls the Service of every Prometheus, and where it is usually.
PROMETHEUS, PROMETHEUS_NAMESPACE, PROMETHEUS_PORT = "prometheus-operated", "monitoring", 9090


@dataclass(frozen=True, slots=True)
class Options:
    """How the cluster and the model are reached. All of it may be left out.

    Attributes:
        context: of the kubeconfig.
        kubeconfig: its file.
        storage: the storageUri of a version, with ``{name}`` and ``{version}`` (plan.yaml's).
        champion: the version that ``@champion`` is now, for pods that follow it.
        host: the host name that clients use, where no route of the namespace has it yet.
        gateway: of a route that has to be made for it, NAMESPACE/NAME.
        address: of the gateway, where host names cannot be resolved: ``http://10.0.0.7:8080``.
        keep_name: to promote by replacing the stable version's pods, under the names they have.
    """

    context: str | None = None
    kubeconfig: Path | None = None
    storage: str | None = None
    champion: str | None = None
    host: str | None = None
    gateway: str | None = None
    address: str | None = None
    keep_name: bool = False


def connect(
    name: str, namespace: str | None = None, options: Options | None = None
) -> tuple[Place, Ledger]:
    """Where an InferenceService is rolled out, and where the state of that is kept.

    Args:
        name: of the InferenceService.
        namespace: that it is in; None is the kubeconfig's, or the pod's own.
        options: how it is reached.

    Raises:
        NotFoundError: there is none; says which there are.
        ForbiddenError: the Role lacks a rule; says which.
        RolloutError: it is none that can be rolled out; says why.
    """
    options = options or Options()
    client, own = login(options.context, options.kubeconfig)
    cluster = Cluster(client, namespace or own)
    sources = Sources(options.storage, options.champion)
    site = Site(cluster, name, sources, options.address)
    return place_of(site, options), ConfigMapLedger(cluster, name)


def open_ledger(name: str, namespace: str | None = None, options: Options | None = None) -> Ledger:
    """Where the state of a rollout is kept, for whoever may read ConfigMaps and nothing else.

    Args:
        name: of the InferenceService, whether it is there or not.
        namespace: as ``connect`` has it.
        options: ``context`` and ``kubeconfig`` count.

    Raises:
        RolloutError: there is no way to a cluster.
    """
    options = options or Options()
    client, own = login(options.context, options.kubeconfig)
    return ConfigMapLedger(Cluster(client, namespace or own), name)


def place_of(site: Site, options: Options) -> Place:
    """The way to roll out an InferenceService, by what the cluster says of it."""
    service = site.read()
    mode = deployment_mode(service)
    if mode is None:
        raise RolloutError(
            f"nothing says in which mode {site.what} is: KServe has not seen it yet (is its "
            f"controller running?), or is older than 0.15.1 and needs the annotation {MODE}"
        )
    if mode == KNATIVE:
        return ServerlessPlace(site)
    if mode != STANDARD:
        raise RolloutError(f"{site.what} is in {mode} mode, which shares no requests out")
    for part in ("transformer", "explainer"):
        if part in service["spec"]:
            raise RolloutError(
                f"{site.what} has a {part}: in Standard mode a rollout knows predictors alone"
            )
    routes = Routes(site.cluster, site.name, options.host, options.gateway)
    # One that has begun is ended as it began, even when KServe is another by now.
    # What is there says how; a dry run needs KServe's webhook, without which requests can go back.
    second = site.cluster.find(INFERENCE_SERVICE, candidate_name(site.name))
    begun = second is not None and is_rollouts(second)
    if not begun and (service["spec"].get("canary") or takes_canary(site, service)):
        return CanaryPlace(site, routes, keep_name=options.keep_name)
    return PairPlace(site, routes)


def prometheus_address(namespace: str | None = None, options: Options | None = None) -> str | None:
    """Where the Prometheus operator's Prometheus is, in the cluster; None if it cannot be found.

    It is looked for in the namespace and in ``monitoring``, as far as the service account may.
    """
    options = options or Options()
    client, own = login(options.context, options.kubeconfig)
    for place in (namespace or own, PROMETHEUS_NAMESPACE):
        try:
            found = Cluster(client, place).find(SERVICE, PROMETHEUS)
        except (ForbiddenError, UnreachableError):
            continue
        if found is not None:
            return f"http://{PROMETHEUS}.{place}.svc.cluster.local:{PROMETHEUS_PORT}"
    return None
