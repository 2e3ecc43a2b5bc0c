"""A registered version's package, put where a pod finds it: beside the version that it serves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from model_store.errors import ModelStoreError, PackageError
from model_store.package import ModelPackage, load_package
from model_store.publishing import staging
from model_store.registry.cache import Cache, link
from model_store.registry.fetch import fetch_package
from model_store.registry.reference import parse_model
from model_store.registry.versions import Registry
from rollout.types import Version

# The package of a version, with the registry's name and number; raises ModelStoreError.
Fetch: TypeAlias = Callable[[Version], ModelPackage]


def from_registry(registry: Registry, cache: Cache) -> Fetch:
    """Fetches versions from ``registry`` into ``cache``."""

    def fetch(version: Version) -> ModelPackage:
        return fetch_package(registry.find(parse_model(version.uri)), registry, cache)

    return fetch


def put(package: ModelPackage, store: Path) -> Path:
    """Have ``package`` at ``STORE/NAME/VERSION`` as well, whole or not at all; gives that folder.

    Files are linked where that is possible. Where the very same package is there already, nothing
    is done.

    Raises:
        PackageError: another package is there, or the folder cannot be written.
    """
    target = store / package.name / package.version
    if target.exists():
        return _same(package, target)
    with staging(store, package.name) as staged:
        for file in package.path.rglob("*"):
            if file.is_file():
                link(file, staged / file.relative_to(package.path))
        try:
            staged.rename(target)
        except OSError:
            if not target.exists():
                raise
            return _same(package, target)  # somebody else was quicker
    return target


def _same(package: ModelPackage, target: Path) -> Path:
    try:
        there = load_package(target)
    except (ModelStoreError, OSError) as error:
        raise PackageError(f"{target}: is in the way: {error}; move it away") from error
    if there.digest != package.digest:
        raise PackageError(
            f"{target}: holds another package than version {package.version} of the registry; "
            "move it away, or have the pod serve what the registry has"
        )
    return target
