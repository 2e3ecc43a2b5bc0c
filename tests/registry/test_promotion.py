"""Aliases: promoted, taken back, and never astray when two change them at once."""

from __future__ import annotations

import threading

import pytest

from model_store.errors import NotRegisteredError, RegistryError, UngatedError
from model_store.registry import turn as turn_module
from model_store.registry.promotion import Move, delete_alias, promote, roll_back, set_alias
from model_store.registry.turn import turn
from model_store.registry.versions import Registry


@pytest.fixture
def three(put, name):
    """Versions 1, 2 and 3."""
    for _ in range(3):
        put()
    return name


def test_promoting_remembers_the_version_before(three, registry):
    """As previous; the first time there is none."""
    assert promote(registry, three, "1") == Move(three, "champion", "", "1")
    assert registry.aliases(three) == {"champion": "1"}

    assert promote(registry, three, "2") == Move(three, "champion", "1", "2")
    assert registry.aliases(three) == {"champion": "2", "previous": "1"}


def test_promoting_the_champion_changes_nothing(three, registry):
    """Least of all previous."""
    promote(registry, three, "1")
    promote(registry, three, "2")

    promote(registry, three, "@champion")

    assert registry.aliases(three) == {"champion": "2", "previous": "1"}


def test_an_alias_can_be_promoted(three, registry):
    """The challenger becomes the champion, whatever its number."""
    set_alias(registry, three, "challenger", "3")

    assert promote(registry, three, "@challenger").now == "3"


def test_rolling_back_goes_to_the_previous_version_once(three, registry):
    """The second time there is nothing to go back to."""
    promote(registry, three, "1")
    promote(registry, three, "2")

    assert roll_back(registry, three) == Move(three, "champion", "2", "1")
    assert registry.aliases(three) == {"champion": "1"}
    with pytest.raises(RegistryError, match="nothing to go back to: no version is @previous"):
        roll_back(registry, three)


def test_another_alias_has_a_previous_of_its_own(three, registry):
    """So that promoting to staging does not touch what production goes back to."""
    promote(registry, three, "1", "staging")
    promote(registry, three, "2", "staging")

    assert registry.aliases(three) == {"staging": "2", "staging-previous": "1"}
    assert roll_back(registry, three, "staging").now == "1"


def test_a_version_whose_gate_said_no_is_not_promoted(put, registry, name):
    """Unless somebody insists."""
    put(**{"millrace.gate": "failed"})

    with pytest.raises(UngatedError, match=f"models:/{name}/1 did not pass its gate"):
        promote(registry, name, "1")
    assert registry.aliases(name) == {}
    assert promote(registry, name, "1", force=True).now == "1"


def test_a_version_whose_gate_said_no_gets_no_alias_either(put, registry, name):
    """There is no second way to champion."""
    put(**{"millrace.gate": "failed"})

    with pytest.raises(UngatedError, match=f"models:/{name}/1 did not pass its gate"):
        set_alias(registry, name, "champion", "1")
    assert registry.aliases(name) == {}
    assert set_alias(registry, name, "champion", "1", force=True).now == "1"


def test_an_alias_can_be_set_and_taken_away(three, registry):
    """Without remembering anything."""
    assert set_alias(registry, three, "shadow", "2").now == "2"
    assert set_alias(registry, three, "shadow", "3").before == "2"
    assert delete_alias(registry, three, "shadow").before == "3"
    assert registry.aliases(three) == {}
    with pytest.raises(NotRegisteredError, match="has no alias shadow"):
        delete_alias(registry, three, "shadow")


@pytest.mark.parametrize("alias", ["v1", "7", "latest", "a b", "", "x@y"])
def test_what_is_no_alias_is_refused(alias, three, registry):
    """Also what MLflow keeps for itself."""
    with pytest.raises(RegistryError, match="is no alias"):
        set_alias(registry, three, alias, "1")


def test_what_does_not_exist_is_not_promoted(three, registry):
    """And says what there is."""
    with pytest.raises(NotRegisteredError, match=f"has {three} 1, 2, 3"):
        promote(registry, three, "9")
    with pytest.raises(NotRegisteredError, match="nobody"):
        promote(registry, "nobody-has-this", "1")
    with pytest.raises(RegistryError, match="neither a version's number nor @ALIAS"):
        promote(registry, three, "newest")


def test_promotions_at_once_are_one_after_the_other(three, registry):
    """Whoever comes last is champion, and previous is who was it before: no version is lost."""
    promote(registry, three, "1")
    moves: list[Move] = []

    def climb(version: str) -> None:
        own = Registry(registry.uri)
        moves.append(promote(own, three, version))

    threads = [threading.Thread(target=climb, args=(version,)) for version in ("2", "3")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    first, second = moves if moves[0].before == "1" else reversed(moves)
    assert (first.before, second.before) == ("1", first.now)
    assert registry.aliases(three) == {"champion": second.now, "previous": first.now}


def test_two_rollbacks_at_once_go_back_once(three, registry):
    """The other one is told that there is nothing to go back to."""
    promote(registry, three, "1")
    promote(registry, three, "2")
    told: list[str] = []

    def back() -> None:
        try:
            told.append(roll_back(Registry(registry.uri), three).now)
        except RegistryError as error:
            told.append(str(error))

    threads = [threading.Thread(target=back) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    done, refused = sorted(told)
    assert done == "1"
    assert "nothing to go back to" in refused
    assert registry.aliases(three) == {"champion": "1"}


def test_many_in_the_queue_never_have_their_turn_together(three, registry):
    """By the tags of the model alone."""
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        own = Registry(registry.uri)
        for _ in range(2):
            with turn(own, three):
                inside.append(1)
                most.append(len(inside))
                own.aliases(three)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (len(most), max(most)) == (8, 1)
    assert registry.client.get_registered_model(three).tags == {}


def test_who_died_in_the_queue_holds_nobody_up_for_ever(three, registry, monkeypatch):
    """Its place is taken away once it has stood still for long."""
    monkeypatch.setattr(turn_module, "DEAD_S", 0.2)
    for number, key in enumerate(("dead", "choosing")):
        registry.client.set_registered_model_tag(three, f"millrace.turn.{key}", str(1 - number))

    assert promote(registry, three, "1").now == "1"
    assert registry.client.get_registered_model(three).tags == {}
