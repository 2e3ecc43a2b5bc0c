"""The step that registers a package that passed its gate, as the challenger."""

from __future__ import annotations

from collections.abc import Mapping

from model_store.errors import NotRegisteredError
from model_store.package import ModelPackage
from model_store.registry.address import registry_uri
from model_store.registry.figures import PASSED
from model_store.registry.promotion import set_alias
from model_store.registry.registering import register
from model_store.registry.versions import GATE_TAG, TAG, RegisteredVersion, Registry

CHALLENGER = "challenger"
RUN_TAG = f"{TAG}pipeline"  # of a version and of an MLflow run: which run of the pipeline


def register_challenger(
    package: ModelPackage, name: str, registry: str, key: str, gate: Mapping[str, str]
) -> RegisteredVersion:
    """The package as the next version of ``name``, or the one that this run has registered before.

    Args:
        package: that passed its gate.
        name: of the model.
        registry: tracking URI; empty as in ``registry_uri``.
        key: of the pipeline's run; a step that is tried again registers nothing twice.
        gate: what its gate said, by rule.

    Raises:
        RegistryError: the registry refuses, or does not answer.
    """
    store = Registry(registry_uri(registry), create=True)
    found = version_of(store, name, key)
    if found is None:
        told = {f"{GATE_TAG}.{rule}": text for rule, text in gate.items()}
        tags = told | {GATE_TAG: PASSED, RUN_TAG: key}
        found = register(store, package, name, tags=tags)
    set_alias(store, name, CHALLENGER, found.version)
    return store.find(found.reference)


def version_of(registry: Registry, name: str, key: str) -> RegisteredVersion | None:
    """The version that a run of the pipeline registered; None if none yet."""
    try:
        versions = registry.versions(name)
    except NotRegisteredError:
        return None
    return next((one for one in versions if one.tags.get(RUN_TAG) == key), None)
