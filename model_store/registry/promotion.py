"""Aliases: which version is served, which one was before it, and how to go back."""

from __future__ import annotations

import re
from dataclasses import dataclass

from model_store.errors import NotRegisteredError, RegistryError, UngatedError
from model_store.registry.connection import speaking_to
from model_store.registry.reference import ModelReference
from model_store.registry.turn import turn
from model_store.registry.versions import GATE_TAG, RegisteredVersion, Registry

CHAMPION, PREVIOUS = "champion", "previous"
_ALIAS = re.compile(r"[A-Za-z0-9_-]{1,100}")
_LIKE_A_VERSION = re.compile(r"v?\d+|latest", re.IGNORECASE)  # MLflow keeps these for itself
FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Move:
    """What became of an alias: the versions before and after; empty for none."""

    name: str
    alias: str
    before: str
    now: str


def previous_of(alias: str) -> str:
    """The alias of the version that ``alias`` was moved away from."""
    return PREVIOUS if alias == CHAMPION else f"{alias}-{PREVIOUS}"


def promote(
    registry: Registry, name: str, wanted: str, alias: str = CHAMPION, *, force: bool = False
) -> Move:
    """Move ``alias`` to a version, and remember where it was.

    Args:
        registry: the registry.
        name: of the model.
        wanted: a version's number, or ``@`` and an alias of it.
        alias: which one moves.
        force: although the version's gate said no.

    Raises:
        UngatedError: the version's gate said no.
        RegistryError: there is no such version, or the registry does not answer.
    """
    _check_alias(alias)
    with turn(registry, name):
        found = _let_through(registry, _reference(name, wanted), force)
        before = registry.aliases(name).get(alias, "")
        if before != found.version:
            # In this order: whoever dies in between leaves no alias astray.
            if before:
                _set(registry, name, previous_of(alias), before)
            _set(registry, name, alias, found.version)
    return Move(name, alias, before, found.version)


def roll_back(registry: Registry, name: str, alias: str = CHAMPION) -> Move:
    """Move ``alias`` back to where it was before it was last promoted; once.

    Raises:
        RegistryError: there is nothing to go back to, or the registry does not answer.
    """
    _check_alias(alias)
    with turn(registry, name):
        aliases = registry.aliases(name)
        before, previous = aliases.get(alias, ""), aliases.get(previous_of(alias), "")
        if not previous:
            raise RegistryError(
                f"{name} has nothing to go back to: no version is @{previous_of(alias)}"
            )
        _set(registry, name, alias, previous)
        _delete(registry, name, previous_of(alias))
    return Move(name, alias, before, previous)


def set_alias(
    registry: Registry, name: str, alias: str, wanted: str, *, force: bool = False
) -> Move:
    """Point ``alias`` to a version, and remember nothing; arguments as ``promote``.

    Raises:
        UngatedError: the version's gate said no.
        RegistryError: there is no such version, or the registry does not answer.
    """
    _check_alias(alias)
    with turn(registry, name):
        found = _let_through(registry, _reference(name, wanted), force)
        before = registry.aliases(name).get(alias, "")
        _set(registry, name, alias, found.version)
    return Move(name, alias, before, found.version)


def delete_alias(registry: Registry, name: str, alias: str) -> Move:
    """Take ``alias`` away.

    Raises:
        RegistryError: there is none, or the registry does not answer.
    """
    _check_alias(alias)
    with turn(registry, name):
        before = registry.aliases(name).get(alias, "")
        if not before:
            raise NotRegisteredError(f"{name} has no alias {alias}")
        _delete(registry, name, alias)
    return Move(name, alias, before, "")


def _let_through(registry: Registry, reference: ModelReference, force: bool) -> RegisteredVersion:
    found = registry.find(reference)
    if found.tags.get(GATE_TAG) == FAILED and not force:
        raise UngatedError(
            f"{found.reference} did not pass its gate; --force promotes it all the same"
        )
    return found


def _reference(name: str, wanted: str) -> ModelReference:
    if wanted.startswith("@"):
        _check_alias(wanted[1:])
        return ModelReference(name, alias=wanted[1:])
    if not wanted.isdecimal():
        raise RegistryError(f"{wanted!r} is neither a version's number nor @ALIAS")
    return ModelReference(name, version=str(int(wanted)))


def _check_alias(alias: str) -> None:
    if not _ALIAS.fullmatch(alias) or _LIKE_A_VERSION.fullmatch(alias):
        raise RegistryError(
            f"{alias!r} is no alias: letters, digits, - and _, and neither like v1 nor latest"
        )


def _set(registry: Registry, name: str, alias: str, version: str) -> None:
    with speaking_to(registry.uri):
        registry.client.set_registered_model_alias(name, alias, version)


def _delete(registry: Registry, name: str, alias: str) -> None:
    with speaking_to(registry.uri):
        registry.client.delete_registered_model_alias(name, alias)
