"""Where a run's candidate is rolled out, and what a rollout works with there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from model_store.registry.cache import Cache
from model_store.registry.promotion import CHAMPION
from model_store.registry.versions import Registry
from pipelines.errors import PipelineError
from predictor.settings import read_settings
from rollout.aliases import RegistryAliases
from rollout.file_ledger import FileLedger
from rollout.local import LocalPlace
from rollout.local_store import from_registry
from rollout.plan import Plan
from rollout.probe import DatasetProbe
from rollout.prometheus import PrometheusMeter
from rollout.run import Parts
from rollout.scrape import ScrapeMeter

LEDGER_FILE = "{name}-rollout.json"  # beside the pods' packages


@dataclass(frozen=True, slots=True)
class Where:
    """A pod that is reached from here, or an InferenceService; one of them.

    Attributes:
        pod: ``http://HOST:PORT``; empty for an InferenceService.
        pod_store: folder in which that pod finds its packages.
        token_file: file with the token of that pod's repository.
        service: name of the InferenceService; empty for a pod.
        namespace: of the InferenceService; empty for the one this runs in.
        prometheus: address of its HTTP API; empty: the Prometheus operator's, if there is one.
    """

    pod: str = ""
    pod_store: str = ""
    token_file: str = ""
    service: str = ""
    namespace: str = ""
    prometheus: str = ""

    def check(self) -> None:
        """See that a place is named, before hours are spent on what is to go there.

        Raises:
            PipelineError: it is not, or half of it is missing.
        """
        if bool(self.pod) == bool(self.service):
            raise PipelineError("name where to roll out: either pod or service")
        if self.pod and not (self.pod_store and self.token_file):
            raise PipelineError("pod: name pod_store and repository_token_file as well")


@contextmanager
def open_parts(where: Where, plan: Plan, registry: Registry, name: str) -> Iterator[Parts]:
    """What a rollout of the model ``name`` works with.

    Raises:
        RolloutError, PipelineError: something is not there.
    """
    where.check()
    with ExitStack() as opened:
        yield (
            _local(where, plan, registry, name, opened)
            if where.pod
            else _cluster(where, plan, registry, name)
        )


def _local(where: Where, plan: Plan, registry: Registry, name: str, opened: ExitStack) -> Parts:
    store = Path(where.pod_store)
    fetch = from_registry(registry, Cache(read_settings().cache))
    place = LocalPlace((where.pod,), name, _token(Path(where.token_file)), store, fetch)
    opened.callback(place.close)
    meter = ScrapeMeter((where.pod,), name)
    opened.callback(meter.close)
    return Parts(
        place=place,
        meter=meter,
        probe=_probe(plan),
        ledger=FileLedger(store / LEDGER_FILE.format(name=name)),
        aliases=RegistryAliases(registry),
    )


def _cluster(where: Where, plan: Plan, registry: Registry, name: str) -> Parts:
    from rollout.kserve import Options, connect, prometheus_address

    namespace = where.namespace or None
    options = Options(storage=plan.storage, champion=registry.aliases(name).get(CHAMPION))
    place, ledger = connect(where.service, namespace, options)
    prometheus = where.prometheus or prometheus_address(namespace, options)
    if prometheus is None:
        raise PipelineError("prometheus: none was found in the cluster; name its address")
    return Parts(
        place=place,
        meter=PrometheusMeter(prometheus, where.service, where.namespace),
        probe=_probe(plan),
        ledger=ledger,
        aliases=RegistryAliases(registry),
    )


def _probe(plan: Plan) -> DatasetProbe:
    golden, replay = plan.dark.golden, plan.shadow
    return DatasetProbe(golden.dataset if golden else "", replay.dataset if replay else "")


def _token(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise PipelineError(f"repository_token_file: {file}: cannot be read: {error}") from error
