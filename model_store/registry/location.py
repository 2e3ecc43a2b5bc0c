"""A model by whatever a user calls it: a name in the store, a path, or a URI of a registry."""

from __future__ import annotations

from pathlib import Path

from model_store.registry.address import registry_uri
from model_store.registry.cache import Cache
from model_store.registry.fetch import Progress, fetch_package, unwatched
from model_store.registry.reference import names_registry, parse_model
from model_store.registry.versions import Registry
from model_store.store import resolve


def locate(
    reference: str, store: Path, registry: str, cache: Path, progress: Progress = unwatched
) -> Path:
    """The folder of the package that ``reference`` means; fetched where a registry has it.

    Args:
        reference: as ``resolve`` has it, or ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``.
        store: folder of packages that names refer to.
        registry: tracking URI; empty as in ``registry_uri``.
        cache: folder of fetched packages.
        progress: told what is being fetched, how many of its files, and of how many.

    Raises:
        PackageError, RegistryError: there is none; says what there is.
    """
    if not names_registry(reference):
        return resolve(reference, store)
    wanted = parse_model(reference)
    source = Registry(registry_uri(registry))
    return fetch_package(source.find(wanted), source, Cache(cache), progress).path
