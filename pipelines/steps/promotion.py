"""The step that sees that the rolled out version is the champion."""

from __future__ import annotations

from dataclasses import dataclass

from model_store.registry.address import registry_uri
from model_store.registry.promotion import CHAMPION, PREVIOUS
from model_store.registry.reference import parse_model
from model_store.registry.versions import Registry
from pipelines.errors import PipelineError


@dataclass(frozen=True, slots=True)
class Promoted:
    """Who is who now, by the versions' numbers; ``previous`` is empty where there was none."""

    champion: str
    previous: str


def see_promoted(uri: str, registry: str) -> Promoted:
    """See that a version that has all of the traffic is the champion; nothing is changed.

    The rollout has told the registry. This step may run much later, or again: it is not to move the
    alias back after somebody has rolled back, or promoted another version.

    Args:
        uri: ``models:/NAME/NUMBER``.
        registry: tracking URI; empty as in ``registry_uri``.

    Raises:
        PipelineError: another version is the champion.
        RegistryError: the registry refuses, or does not answer.
    """
    store = Registry(registry_uri(registry))
    found = store.find(parse_model(uri))
    aliases = store.aliases(found.name)
    champion = aliases.get(CHAMPION, "")
    if champion != found.version:
        others = f"version {champion}" if champion else "no version"
        raise PipelineError(
            f"{uri} was rolled out, but {others} is the champion: somebody has moved the alias "
            "since; `millrace models list` says who is who"
        )
    return Promoted(champion, aliases.get(PREVIOUS, ""))
