"""What the registry is told at the end, by a real one."""

from __future__ import annotations

import uuid

import pytest

from model_store.errors import UngatedError
from model_store.registry.promotion import set_alias
from model_store.registry.registering import register
from model_store.registry.versions import Registry
from rollout.aliases import ROLLOUT_TAG, RegistryAliases, find_candidate
from rollout.errors import NotFoundError, RolloutError, UnreachableError
from rollout.types import Version
from tests.registry.server import Way


@pytest.fixture(scope="module")
def registry(registry_server) -> Registry:
    """A client of the server."""
    return Registry(registry_server.uri)


@pytest.fixture(scope="module")
def name(registry, colours) -> str:
    """A model of three versions, the last of which did not pass its gate."""
    made = f"model-{uuid.uuid4().hex[:8]}"
    for gate in ("passed", "passed", "failed"):
        register(registry, colours, made, "", {"millrace.gate": gate})
    return made


@pytest.fixture
def candidate(registry, name) -> Version:
    """Version 2, the challenger of champion 1."""
    for alias, version in (("champion", "1"), ("challenger", "2")):
        set_alias(registry, name, alias, version)
    return find_candidate(registry, f"models:/{name}@challenger")


def told(registry: Registry, name: str) -> tuple[dict[str, str], str]:
    """Aliases, and what version 2 bears."""
    tags = {each.version: each.tags for each in registry.versions(name)}
    aliases = registry.aliases(name)
    return {alias: aliases[alias] for alias in sorted(aliases)}, tags["2"].get(ROLLOUT_TAG, "")


def test_a_candidate_is_found_by_its_alias_or_number(registry, name, candidate):
    """Always as the same value."""
    assert candidate == Version(name, "2", f"models:/{name}/2")
    assert find_candidate(registry, f"models:/{name}/2") == candidate


def test_what_is_aborted_is_no_challenger_any_more(registry, name, candidate):
    """Once or twice told; the champion stays."""
    aliases = RegistryAliases(registry)
    for _ in range(2):
        aliases.aborted(candidate, "errors of x/2: " + "too many " * 100)

    now, tag = told(registry, name)
    assert (now["champion"], "challenger" in now) == ("1", False)
    assert tag.startswith("aborted: errors of x/2: too many")
    assert len(tag) == 500


def test_another_challenger_that_came_meanwhile_stays(registry, name, candidate):
    """It is not this rollout's."""
    set_alias(registry, name, "challenger", "3", force=True)

    RegistryAliases(registry).aborted(candidate, "slow")

    assert registry.aliases(name)["challenger"] == "3"


def test_what_is_promoted_is_champion_and_what_was_is_previous(registry, name, candidate):
    """Once or twice told."""
    for _ in range(2):
        RegistryAliases(registry).promoted(candidate)

    assert told(registry, name) == ({"champion": "2", "previous": "1"}, "promoted")


def test_a_version_that_did_not_pass_its_gate_is_no_candidate(registry, name):
    """The answer is no."""
    with pytest.raises(UngatedError, match="did not pass its gate: it is not rolled out"):
        find_candidate(registry, f"models:/{name}/3")


def test_a_candidate_that_is_not_there_is_refused_in_one_line(registry, name):
    """With what there is."""
    with pytest.raises(NotFoundError, match=f"has {name} 1"):
        find_candidate(registry, f"models:/{name}@nobody")
    with pytest.raises(RolloutError, match="must be models:/NAME@ALIAS"):
        find_candidate(registry, "digits")


def test_a_version_that_was_deleted_needs_no_words(registry, name, candidate):
    """Its rollout can end all the same."""
    gone = Version(name, "99", f"models:/{name}/99")

    RegistryAliases(registry).aborted(gone, "slow")


def test_a_registry_that_is_away_may_be_asked_again(registry_server, candidate):
    """It is told apart from one that refuses."""
    way = Way(registry_server.port)
    away = RegistryAliases(Registry(way.uri))
    way.close()

    with pytest.raises(UnreachableError):
        away.promoted(candidate)
