"""Where a run's candidate is rolled out, as the pipeline's parameter ``place`` says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from model_store.registry.address import shown
from model_store.registry.cache import Cache
from model_store.registry.versions import Registry
from pipelines.errors import PipelineError
from predictor.settings import read_settings
from rollout import sites
from rollout.plan import Plan
from rollout.run import Parts
from rollout.sites import Pods, Service, Site
from rollout.types import Ledger, Version


@dataclass(frozen=True, slots=True)
class Where:
    """Pods that are reached from here, or an InferenceService; one of them.

    Attributes:
        pod: ``http://HOST:PORT``, several with commas between; empty for an InferenceService.
        pod_store: folder in which pods find their packages.
        repository_token_file: file with the token of the pods' repositories.
        service: name of the InferenceService; empty for pods.
        namespace: of the InferenceService; empty for the one this runs in.
        prometheus: address of its HTTP API; empty: the Prometheus operator's, if there is one.
        prometheus_token_file: file with a bearer token for it.
        host: name that clients use, where no route has it yet.
        gateway: NAMESPACE/NAME, of a route that has to be made.
        gateway_address: of the gateway, where host names cannot be resolved.
        keep_name: ``true`` to promote by replacing the stable version's pods, under their names.
    """

    pod: str = ""
    pod_store: str = ""
    repository_token_file: str = ""
    service: str = ""
    namespace: str = ""
    prometheus: str = ""
    prometheus_token_file: str = ""
    host: str = ""
    gateway: str = ""
    gateway_address: str = ""
    keep_name: str = "false"

    @property
    def site(self) -> Site:
        """As a rollout has it."""
        if self.pod:
            urls = tuple(each.strip() for each in self.pod.split(","))
            return Pods(urls, Path(self.pod_store), _path(self.repository_token_file))
        return Service(
            namespace=self.namespace or None,
            prometheus=self.prometheus,
            prometheus_token_file=_path(self.prometheus_token_file),
            host=self.host or None,
            gateway=self.gateway or None,
            address=self.gateway_address or None,
            keep_name=self.keep_name == "true",
        )


def where(place: Mapping[str, str]) -> Where:
    """What the parameter says, before hours are spent on what is to go there.

    Raises:
        PipelineError: no place is named, or half of one.
    """
    known = [field.name for field in fields(Where)]
    if unknown := sorted(set(place) - set(known)):
        raise PipelineError(f"place: unknown key {unknown[0]!r}; known: {', '.join(known)}")
    # KFP's pages take any JSON for a value, such as true.
    found = Where(**{key: _text(value) for key, value in place.items()})
    if bool(found.pod) == bool(found.service):
        raise PipelineError("place: name where to roll out: either pod or service")
    if found.pod and not (found.pod_store and found.repository_token_file):
        raise PipelineError("place: name pod_store and repository_token_file beside pod")
    if found.keep_name not in ("true", "false"):
        raise PipelineError(f"place: keep_name is true or false, not {found.keep_name!r}")
    _check_public(found)
    return found


def open_ledger(where: Where, model: str) -> Ledger:
    """Where the state of the model's rollout is kept; see ``rollout.sites.open_ledger``.

    Raises:
        RolloutError: there is no way to it.
    """
    return sites.open_ledger(where.site, where.service or model)


def left_candidate(where: Where, model: str) -> Version | None:
    """Whose rollout the place itself remembers; see ``rollout.sites.left_candidate``.

    Raises:
        RolloutError: there is no way to it.
    """
    return sites.left_candidate(where.site, where.service or model)


@contextmanager
def open_parts(
    where: Where, model: str, plan: Plan, registry: Registry | None, *, measuring: bool = True
) -> Iterator[Parts]:
    """What a rollout of the model works with; see ``rollout.sites.open_parts``.

    Raises:
        RolloutError: something is not there.
    """
    cache = Cache(read_settings().cache)
    name = where.service or model
    with sites.open_parts(
        where.site, name, model, plan, registry, cache, measuring=measuring
    ) as parts:
        yield parts


def _check_public(found: Where) -> None:
    """Refuse names and passwords in addresses: they would stand in KFP's pages, logs and files."""
    for key in ("prometheus", "pod", "gateway_address"):
        addresses = getattr(found, key)
        if shown(addresses) != addresses:
            instead = ": prometheus_token_file names a file" if key == "prometheus" else ""
            raise PipelineError(
                f"place: {key}: leave name and password out, KFP shows parameters to everybody"
                + instead
            )


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _path(text: str) -> Path | None:
    return Path(text) if text else None
