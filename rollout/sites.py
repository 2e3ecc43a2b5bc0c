"""From addresses to what a rollout works with: pods that run here, or an InferenceService."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from model_store.errors import ModelStoreError, RegistryDownError
from model_store.package import ModelPackage
from model_store.registry.cache import Cache
from model_store.registry.promotion import CHAMPION
from model_store.registry.versions import Registry
from rollout.aliases import NoAliases, RegistryAliases
from rollout.errors import RolloutError, UnreachableError
from rollout.file_ledger import FileLedger
from rollout.local import LocalPlace
from rollout.local_store import from_registry
from rollout.plan import Plan
from rollout.probe import DatasetProbe
from rollout.prometheus import PrometheusMeter
from rollout.run import Parts
from rollout.scrape import ScrapeMeter
from rollout.types import Ledger, Meter, Place, Traffic, Version

if TYPE_CHECKING:
    from rollout.kserve import Options

LEDGER_FILE = "{name}-rollout.json"  # in the pods' store


@dataclass(frozen=True, slots=True)
class Pods:
    """Pods that are reached from here, of one store.

    Attributes:
        urls: ``http://HOST:PORT``, one at least.
        store: the folder in which they find their packages.
        token_file: with the token of their repositories; None to carry nothing out.
    """

    urls: tuple[str, ...]
    store: Path
    token_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """An InferenceService.

    Attributes:
        namespace: None is the kubeconfig's, or the pod's own.
        context: of the kubeconfig.
        kubeconfig: its file.
        prometheus: address of its API; empty: looked for in the cluster.
        prometheus_token_file: with a bearer token for it.
        host: name that clients use, where no route has it yet.
        gateway: NAMESPACE/NAME, of a route that has to be made.
        address: of the gateway, where host names cannot be resolved.
        keep_name: promote by replacing the stable version's pods.
    """

    namespace: str | None = None
    context: str | None = None
    kubeconfig: Path | None = None
    prometheus: str = ""
    prometheus_token_file: Path | None = None
    host: str | None = None
    gateway: str | None = None
    address: str | None = None
    keep_name: bool = False


Site: TypeAlias = Pods | Service


def open_ledger(site: Site, name: str) -> Ledger:
    """Where the state of a rollout of ``name`` is kept.

    Raises:
        RolloutError: there is no way to the cluster.
    """
    if isinstance(site, Pods):
        return FileLedger(site.store / LEDGER_FILE.format(name=name))
    from rollout import kserve

    return kserve.open_ledger(name, site.namespace, _options(site))


def left_candidate(site: Site, name: str) -> Version | None:
    """Whose rollout the place itself remembers, though its state was deleted; None: nobody's.

    Pods that run here remember none.

    Raises:
        RolloutError: there is no way to the cluster.
    """
    if isinstance(site, Pods):
        return None
    from rollout.kserve.left import left_candidate as left_on_cluster

    return left_on_cluster(name, site.namespace, _options(site))


@contextmanager
def open_parts(
    site: Site,
    name: str,
    model: str,
    plan: Plan,
    registry: Registry | None,
    cache: Cache,
    *,
    measuring: bool = True,
) -> Iterator[Parts]:
    """What a rollout works with.

    Args:
        site: where it is served.
        name: under which it is served; an InferenceService's is its own.
        model: its name in the registry.
        plan: names the datasets, and where candidates are loaded from.
        registry: has the versions and their aliases; None where it is not found: requests can be
            sent back, and nothing can be recorded.
        cache: where packages are fetched for pods that run here.
        measuring: false to send requests back only, which must not wait for the registry, nor for
            Prometheus.

    Raises:
        RolloutError: something is not there; says what.
    """
    probe = _probe(plan)
    with ExitStack() as opened:
        if isinstance(site, Pods):
            if model != name:
                raise RolloutError(f"{name}: a pod serves a model by its registered name, {model}")
            place, meter = _at_pods(site, name, registry, cache, opened)
            ledger = open_ledger(site, name)
        else:
            champion = _champion(registry, model, measuring)
            options = _options(site, plan.storage, champion)
            place, meter, ledger = _at_service(site, name, options, measuring, opened)
        aliases = NoAliases() if registry is None else RegistryAliases(registry)
        yield Parts(place, meter, probe, ledger, aliases)


def _at_pods(
    site: Pods, name: str, registry: Registry | None, cache: Cache, opened: ExitStack
) -> tuple[Place, Meter]:
    fetch = _nothing if registry is None else from_registry(registry, cache)
    place = LocalPlace(site.urls, name, _token(site.token_file), site.store, fetch)
    opened.callback(place.close)
    meter = ScrapeMeter(site.urls, name)
    opened.callback(meter.close)
    return place, meter


def _nothing(version: Version) -> ModelPackage:
    raise RolloutError(f"{version.uri}: there is no registry to fetch it from")


def _at_service(
    site: Service, name: str, options: Options, measuring: bool, opened: ExitStack
) -> tuple[Place, Meter, Ledger]:
    from rollout.kserve import connect, prometheus_address
    from rollout.kserve.login import login

    namespace = site.namespace or login(site.context, site.kubeconfig)[1]
    place, ledger = connect(name, namespace, options)
    if not measuring:
        return place, _NoMeter(), ledger
    url = site.prometheus or prometheus_address(namespace, options)
    if url is None:
        raise RolloutError("no Prometheus was found in the cluster: --prometheus says where one is")
    meter = PrometheusMeter(url, name, namespace, site.prometheus_token_file)
    opened.callback(meter.close)
    return place, meter, ledger


def _options(site: Service, storage: str | None = None, champion: str | None = None) -> Options:
    from rollout.kserve import Options

    return Options(
        context=site.context,
        kubeconfig=site.kubeconfig,
        storage=storage,
        champion=champion,
        host=site.host,
        gateway=site.gateway,
        address=site.address,
        keep_name=site.keep_name,
    )


class _NoMeter:
    """A ``Meter`` that knows nothing."""

    def traffic(self, version: str, since: float) -> Traffic:
        """Refuse."""
        raise UnreachableError(f"nobody counts the requests of version {version} since {since:.0f}")


def _champion(registry: Registry | None, model: str, measuring: bool) -> str | None:
    if registry is None:
        return None
    try:
        return registry.aliases(model).get(CHAMPION)
    except ModelStoreError as error:
        if not measuring:
            return None
        if isinstance(error, RegistryDownError):
            raise UnreachableError(str(error)) from error
        raise RolloutError(str(error)) from error


def _probe(plan: Plan) -> DatasetProbe:
    golden, replay = plan.dark.golden, plan.shadow
    return DatasetProbe(golden.dataset if golden else "", replay.dataset if replay else "")


def _token(file: Path | None) -> str:
    if file is None:
        raise RolloutError("--repository-token-file names the file with the pods' token")
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise RolloutError(f"{file}: cannot be read: {error}") from error
