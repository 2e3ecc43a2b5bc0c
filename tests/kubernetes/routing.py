"""Where a request goes by what stands in the cluster: HTTPRoutes, Knative's traffic, Services."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.kubernetes.cluster import Cluster
from tests.kubernetes.knative import GROUP
from tests.kubernetes.kserve_names import REVISION_LABEL

Object = dict[str, Any]
ROUTE = "gateway.networking.k8s.io"
# Of paths, the exact one first, then prefixes, then expressions, as Istio's gateway has it.
RANKS = {"Exact": 3, "PathPrefix": 2, "RegularExpression": 1}


@dataclass(frozen=True, slots=True)
class Backend:
    """Something with pods that takes a share of a rule's requests.

    Attributes:
        selector: of its pods; ``""`` where there is no such Service.
        weight: relative to its rule's others.
    """

    namespace: str
    name: str
    selector: str
    weight: int


@dataclass(frozen=True, slots=True)
class Rule:
    """The backends of a request, and the headers that are set on its way to them.

    Attributes:
        name: tells it from others: whoever shares out keeps count by it.
    """

    name: str
    backends: tuple[Backend, ...]
    headers: tuple[tuple[str, str], ...] = ()


def rule_for(
    cluster: Cluster, method: str, host: str, path: str, headers: Mapping[str, str]
) -> Rule | None:
    """The rule that a request meets; None is 404. ``headers`` have names in lower case."""
    matching = sorted(
        _matching(cluster, method, host, path, headers), key=lambda each: each[0], reverse=True
    )
    if matching:
        _, route, index = matching[0]
        return _of_route(cluster, route, index)
    for service in cluster.list("Service", group=""):
        metadata = service["metadata"]
        inside = f"{metadata['name']}.{metadata['namespace']}"
        if host in (inside, f"{inside}.svc", f"{inside}.svc.cluster.local"):
            found = _service(cluster, metadata["namespace"], metadata["name"], 1)
            return Rule(inside, (found,))
    if any(each.group == GROUP for each in cluster.kinds()):
        return _of_knative(cluster, host)
    return None


Score = tuple[int, int, int, int]


def _matching(
    cluster: Cluster, method: str, host: str, path: str, headers: Mapping[str, str]
) -> Iterator[tuple[Score, Object, int]]:
    routes = cluster.list("HTTPRoute")
    # Of routes that are as good, the oldest is taken, then the first by name.
    routes.sort(key=lambda each: (each["metadata"]["creationTimestamp"], each["metadata"]["name"]))
    for age, route in enumerate(routes):
        if not _has_host(route, host) or not _is_accepted(route):
            continue
        for index, rule in enumerate(route["spec"]["rules"]):
            for match in rule.get("matches") or [{}]:
                if _matches(match, method, path, headers):
                    where = match.get("path") or {"type": "PathPrefix", "value": "/"}
                    rank = RANKS[where["type"]], len(where["value"])
                    yield (*rank, len(match.get("headers") or ()), -age), route, index


def _has_host(route: Object, host: str) -> bool:
    hosts = route["spec"].get("hostnames") or ["*"]
    return any(
        each in ("*", host) or (each.startswith("*.") and host.endswith(each[1:])) for each in hosts
    )


def _is_accepted(route: Object) -> bool:
    parents = (route.get("status") or {}).get("parents") or ()
    return any(
        each["type"] == "Accepted" and each["status"] == "True"
        for parent in parents
        for each in parent["conditions"]
    )


def _matches(match: Object, method: str, path: str, headers: Mapping[str, str]) -> bool:
    if match.get("method", method) != method:
        return False
    where = match.get("path") or {"type": "PathPrefix", "value": "/"}
    wanted = where["value"]
    if where["type"] == "Exact":
        fits = path == wanted
    elif where["type"] == "PathPrefix":
        fits = path == wanted or path.startswith(wanted.rstrip("/") + "/")
    else:
        fits = bool(re.fullmatch(wanted.strip("^$"), path))
    return fits and all(_header(each, headers) for each in match.get("headers") or ())


def _header(match: Object, headers: Mapping[str, str]) -> bool:
    have = headers.get(match["name"].lower())
    if have is None:
        return False
    if match.get("type") == "RegularExpression":
        return bool(re.fullmatch(match["value"].strip("^$"), have))
    return bool(have == match["value"])


def _of_route(cluster: Cluster, route: Object, index: int) -> Rule:
    metadata, rule = route["metadata"], route["spec"]["rules"][index]
    backends = [
        _service(
            cluster, each.get("namespace") or metadata["namespace"], each["name"], each["weight"]
        )
        for each in rule.get("backendRefs") or ()
    ]
    headers = [
        (each["name"], each["value"])
        for filters in rule.get("filters") or ()
        for each in (filters.get("requestHeaderModifier") or {}).get("set") or ()
    ]
    name = f"{metadata['namespace']}/{metadata['name']}/{index}"
    return Rule(name, tuple(backends), tuple(headers))


def _service(cluster: Cluster, namespace: str, name: str, weight: int) -> Backend:
    found = cluster.get("Service", name, namespace, "")
    wanted = (found or {"spec": {}})["spec"].get("selector") or {}
    selector = ",".join(f"{key}={value}" for key, value in wanted.items())
    return Backend(namespace, name, selector, weight)


def _of_knative(cluster: Cluster, host: str) -> Rule | None:
    public = _public(cluster).get(host)
    for service in cluster.list("Service", group=GROUP):
        metadata, status = service["metadata"], service.get("status") or {}
        traffic = status.get("traffic") or []
        inside = f"{metadata['name']}.{metadata['namespace']}.svc.cluster.local"
        name = f"{metadata['namespace']}/{metadata['name']}"
        if host in (urlsplit(status.get("url", "")).hostname, inside) or public == name:
            return Rule(name, tuple(_revision(metadata["namespace"], each) for each in traffic))
        for target in traffic:
            if urlsplit(target.get("url", "")).hostname == host:
                alone = {**target, "percent": 1}
                return Rule(f"{name}/{target['tag']}", (_revision(metadata["namespace"], alone),))
    return None


def _public(cluster: Cluster) -> dict[str, str]:
    """The Knative Services of InferenceServices, by the hosts that these give out."""
    found = {}
    for isvc in cluster.list("InferenceService"):
        host = urlsplit((isvc.get("status") or {}).get("url", "")).hostname
        if host:
            metadata = isvc["metadata"]
            found[host] = f"{metadata['namespace']}/{metadata['name']}-predictor"
    return found


def _revision(namespace: str, target: Object) -> Backend:
    name = target["revisionName"]
    return Backend(namespace, name, f"{REVISION_LABEL}={name}", target.get("percent", 0))
