"""The step that makes the rolled out version the champion."""

from __future__ import annotations

from dataclasses import dataclass

from model_store.registry.address import registry_uri
from model_store.registry.promotion import CHAMPION, PREVIOUS
from model_store.registry.reference import parse_model
from model_store.registry.versions import Registry
from rollout.aliases import RegistryAliases
from rollout.types import Version


@dataclass(frozen=True, slots=True)
class Promoted:
    """Who is who now, by the versions' numbers; ``previous`` is empty where there was none."""

    champion: str
    previous: str


def promote_champion(uri: str, registry: str) -> Promoted:
    """Make a version the champion and the old champion the previous one; may be repeated.

    The rollout has done so already where it ended well: the aliases are the traffic's, and this
    step is the one that fails if they are not.

    Args:
        uri: ``models:/NAME/NUMBER``.
        registry: tracking URI; empty as in ``registry_uri``.

    Raises:
        RegistryError, RolloutError: the registry refuses, or does not answer.
    """
    store = Registry(registry_uri(registry))
    found = store.find(parse_model(uri))
    RegistryAliases(store).promoted(Version(found.name, found.version, str(found.reference)))
    aliases = store.aliases(found.name)
    return Promoted(aliases[CHAMPION], aliases.get(PREVIOUS, ""))
