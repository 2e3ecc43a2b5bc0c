"""The step that registers a package that passed its gate, as the challenger."""

from __future__ import annotations

from pathlib import Path

from model_store.errors import NotRegisteredError
from model_store.package import ModelPackage
from model_store.registry.address import registry_uri
from model_store.registry.cache import Cache
from model_store.registry.figures import PASSED
from model_store.registry.promotion import set_alias
from model_store.registry.registering import register
from model_store.registry.versions import GATE_TAG, TAG, RegisteredVersion, Registry
from predictor.settings import read_settings
from rollout.aliases import CHALLENGER
from rollout.local_store import from_registry, put
from rollout.types import Version

RUN_TAG = f"{TAG}pipeline"  # of a version and of an MLflow run: which run of the pipeline


def register_challenger(
    package: ModelPackage, name: str, registry: str, key: str
) -> RegisteredVersion:
    """The package as the next version of ``name``, or the one that this run has registered before.

    Args:
        package: that passed its gate.
        name: of the model.
        registry: tracking URI; empty as in ``registry_uri``.
        key: of the pipeline's run; a step that is tried again registers nothing twice.

    Raises:
        RegistryError: the registry refuses, or does not answer.
    """
    store = Registry(registry_uri(registry), create=True)
    found = version_of(store, name, key)
    if found is None:
        found = register(store, package, name, tags={GATE_TAG: PASSED, RUN_TAG: key})
    set_alias(store, name, CHALLENGER, found.version)
    return store.find(found.reference)


def lay_down(found: RegisteredVersion, registry: str, store: Path) -> Path:
    """Put a registered version's package where pods that load from a volume find it.

    Args:
        found: the version.
        registry: tracking URI.
        store: a folder of that volume; the package becomes ``NAME/NUMBER`` in it.

    Raises:
        ModelStoreError: it cannot be fetched or written.
    """
    fetch = from_registry(Registry(registry_uri(registry)), Cache(read_settings().cache))
    return put(fetch(Version(found.name, found.version, str(found.reference))), store)


def version_of(registry: Registry, name: str, key: str) -> RegisteredVersion | None:
    """The version that a run of the pipeline registered; None if none yet."""
    try:
        versions = registry.versions(name)
    except NotRegisteredError:
        return None
    return next((one for one in versions if one.tags.get(RUN_TAG) == key), None)
