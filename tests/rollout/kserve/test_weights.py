"""How a route's rules share requests out."""

from __future__ import annotations

import copy

import pytest

from rollout.errors import RolloutError
from rollout.kserve.weights import (
    MOST_RULES,
    VERSION_HEADER,
    leads_to,
    percent_of,
    room_for,
    share_out,
)
from tests.rollout.kserve.objects import public_route

STABLE, CANDIDATE = "classifier-predictor", "classifier-v4-predictor"
KNOWN = {STABLE, CANDIDATE}
DIRECT = {"3": STABLE, "4": CANDIDATE}


def weights(rule):
    """Of its Services."""
    return {each["name"]: each.get("weight") for each in rule["backendRefs"]}


def test_both_services_get_their_weight():
    """At the port that the stable one had, with the rule's own timeouts."""
    route = public_route({"name": STABLE, "port": 8081})

    share_out(route, {STABLE: 75, CANDIDATE: 25}, KNOWN, {})

    (rule,) = route["spec"]["rules"]
    assert weights(rule) == {STABLE: 75, CANDIDATE: 25}
    assert {each["port"] for each in rule["backendRefs"]} == {8081}
    assert rule["timeouts"] == {"request": "30s"}


def test_a_version_is_asked_by_a_header_whatever_the_weights_are():
    """On each of the route's paths; and no more when all is over."""
    route = public_route()
    route["spec"]["rules"][0]["matches"] = [{"path": {"type": "PathPrefix", "value": "/v2"}}]
    before = copy.deepcopy(route)

    share_out(route, {STABLE: 100, CANDIDATE: 0}, KNOWN, DIRECT)

    *by_version, public = route["spec"]["rules"]
    assert [list(weights(rule)) for rule in by_version] == [[STABLE], [CANDIDATE]]
    for rule, version in zip(by_version, DIRECT, strict=True):
        (match,) = rule["matches"]
        assert match["path"] == {"type": "PathPrefix", "value": "/v2"}
        assert [(each["name"], each["value"]) for each in match["headers"]] == [
            (VERSION_HEADER, version)
        ]
    assert weights(public) == {STABLE: 100, CANDIDATE: 0}
    assert leads_to(route, "4")
    assert not leads_to(route, "5")
    share_out(route, {STABLE: 100}, KNOWN, {})
    before["spec"]["rules"][0]["backendRefs"][0]["weight"] = 100
    assert route == before


def test_the_share_that_a_service_has_is_read_of_its_weights():
    """The largest of all rules, rounded up; not of the way by version, nor of none."""
    route = public_route()
    assert [percent_of(route, each) for each in (STABLE, CANDIDATE)] == [100, 0]
    share_out(route, {STABLE: 100, CANDIDATE: 0}, KNOWN, DIRECT)
    assert percent_of(route, CANDIDATE) == 0
    share_out(route, {STABLE: 2, CANDIDATE: 1}, KNOWN, DIRECT)
    assert percent_of(route, CANDIDATE) == 34
    other = public_route({"name": STABLE, "weight": 10}, {"name": CANDIDATE, "weight": 90})
    route["spec"]["rules"] += other["spec"]["rules"]
    assert percent_of(route, CANDIDATE) == 90


def test_the_same_again_changes_nothing():
    """So it may be ordered again."""
    route = public_route()
    share_out(route, {STABLE: 90, CANDIDATE: 10}, KNOWN, DIRECT)
    first = copy.deepcopy(route)

    share_out(route, {STABLE: 90, CANDIDATE: 10}, KNOWN, DIRECT)

    assert route == first


def test_rules_of_other_models_are_left_alone():
    """One route may have several models."""
    route = public_route()
    other = {"backendRefs": [{"name": "digits-predictor", "port": 80}]}
    route["spec"]["rules"].append(other)

    share_out(route, {STABLE: 50, CANDIDATE: 50}, KNOWN, {})

    assert route["spec"]["rules"][1] == {"backendRefs": [{"name": "digits-predictor", "port": 80}]}


def test_a_rule_that_leads_elsewhere_too_has_no_share_to_give():
    """Percents of what would that be."""
    route = public_route({"name": STABLE, "port": 80}, {"name": "classifier-cpu", "port": 80})

    with pytest.raises(RolloutError, match="classifier-cpu"):
        share_out(route, {STABLE: 50, CANDIDATE: 50}, KNOWN, {})


def test_back_to_the_stable_version_is_always_possible():
    """Somebody has put a third one into the rule while the candidate had its share."""
    third = {"name": "classifier-cpu", "port": 80, "weight": 10}
    route = public_route(third, {"name": STABLE, "port": 80}, {"name": CANDIDATE, "port": 80})

    share_out(route, {STABLE: 100}, KNOWN, {})

    assert weights(route["spec"]["rules"][0]) == {STABLE: 100, "classifier-cpu": 10}


def test_a_route_has_room_for_ways_by_version_or_has_not():
    """The Gateway API takes sixteen rules; those that are there already are not counted twice."""
    route = public_route()
    (rule,) = route["spec"]["rules"]
    route["spec"]["rules"] = [copy.deepcopy(rule) for _ in range(5)]
    share_out(route, {STABLE: 100, CANDIDATE: 0}, KNOWN, DIRECT)
    assert len(route["spec"]["rules"]) == 15 <= MOST_RULES
    assert room_for(route, KNOWN, DIRECT)

    route["spec"]["rules"].append({"backendRefs": [{"name": "digits-predictor", "port": 80}]})
    assert room_for(route, KNOWN, DIRECT)
    route["spec"]["rules"].append({"backendRefs": [{"name": "digits-predictor", "port": 80}]})
    assert not room_for(route, KNOWN, DIRECT)
    assert room_for(route, KNOWN, {})
