"""How the rules of a Gateway API route share requests out between two Services; pure."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from rollout.errors import RolloutError
from rollout.kserve.resources import Manifest

# A request with this header goes to the version that it names, whatever the weights are.
VERSION_HEADER = "millrace-version"

MOST_RULES = 16  # of a route, by the Gateway API's schema


def backends(route: Manifest) -> set[str]:
    """The Services that a route sends requests to, the weight aside."""
    return {
        str(each["name"])
        for rule in route["spec"].get("rules") or ()
        for each in rule.get("backendRefs") or ()
        if each.get("kind", "Service") == "Service"
    }


def share_out(
    route: Manifest, weights: Mapping[str, int], known: set[str], direct: Mapping[str, str]
) -> None:
    """Let a route share its requests out; in place.

    Args:
        route: an HTTPRoute or a GRPCRoute. Rules that lead to none of ``known`` are left alone.
        weights: percent by Service.
        known: the Services that either version has, or had.
        direct: for an HTTPRoute, the Service by the version that ``VERSION_HEADER`` names.

    Raises:
        RolloutError: a rule has other Services besides.
    """
    rules: list[Manifest] = []
    of_versions: list[Manifest] = []
    for rule in route["spec"].get("rules") or ():
        if _by_version(rule):
            continue
        if any(each["name"] in known for each in rule.get("backendRefs") or ()):
            template = _template(route, rule, known, back=len(weights) == 1)
            others = [each for each in rule["backendRefs"] if each["name"] not in known]
            rule["backendRefs"] = [
                *({**template, "name": name, "weight": weight} for name, weight in weights.items()),
                *others,
            ]
            of_versions += [_rule_of(rule, template, *each) for each in direct.items()]
        rules.append(rule)
    route["spec"]["rules"] = of_versions + rules


def percent_of(route: Manifest, service: str) -> int:
    """The largest share that a rule gives a Service, rounded up; rules by version aside."""
    largest = 0
    for rule in route["spec"].get("rules") or ():
        if _by_version(rule):
            continue
        weights = [(each["name"], each.get("weight", 1)) for each in rule.get("backendRefs") or ()]
        own = sum(weight for name, weight in weights if name == service)
        if own:
            largest = max(largest, -(-own * 100 // sum(weight for _, weight in weights)))
    return largest


def room_for(route: Manifest, known: set[str], direct: Mapping[str, str]) -> bool:
    """Whether a route may have a rule by version beside each one that leads to the model."""
    own = [each for each in route["spec"].get("rules") or () if not _by_version(each)]
    models = sum(
        any(each["name"] in known for each in rule.get("backendRefs") or ()) for rule in own
    )
    return len(own) + models * len(direct) <= MOST_RULES


def leads_to(route: Manifest, version: str) -> bool:
    """Whether a request that names a version in its header gets there by this route."""
    return any(
        header.get("value") == version
        for rule in route["spec"].get("rules") or ()
        if _by_version(rule)
        for match in rule["matches"]
        for header in match["headers"]
    )


def _template(route: Manifest, rule: Manifest, known: set[str], *, back: bool) -> Manifest:
    others = {each["name"] for each in rule["backendRefs"]} - known
    if others and not back:  # to go back is always possible
        raise RolloutError(
            f"{route['kind']} {route['metadata']['name']} sends requests to "
            f"{', '.join(sorted(others))} by the same rule, so no share of them can be promised: "
            "give the model a rule of its own"
        )
    return dict(next(each for each in rule["backendRefs"] if each["name"] in known))


def _rule_of(rule: Manifest, template: Manifest, version: str, service: str) -> Manifest:
    header = {"type": "Exact", "name": VERSION_HEADER, "value": version}
    matches = copy.deepcopy(rule.get("matches") or [{"path": {"type": "PathPrefix", "value": "/"}}])
    for match in matches:
        match["headers"] = [*match.get("headers", ()), header]
    own = {key: copy.deepcopy(value) for key, value in rule.items() if key != "name"}
    return {**own, "matches": matches, "backendRefs": [{**template, "name": service, "weight": 1}]}


def _by_version(rule: Manifest) -> bool:
    return any(
        header["name"] == VERSION_HEADER
        for match in rule.get("matches") or ()
        for header in match.get("headers") or ()
    )
