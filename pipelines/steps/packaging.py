"""The step that makes a package of a network."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model_store.original import Progress
from model_store.package import MANIFEST_FILE, ModelPackage, load_package, sha256_of
from model_store.packaging import package
from model_store.registry.fetch import fetch_model_folder
from model_store.registry.reference import names_registry
from pipelines.errors import PipelineError
from pipelines.package_settings import package_request


def make_package(
    source: str,
    name: str,
    labels: Path,
    parity_images: Path,
    packaging: Mapping[str, Any],
    registry: str,
    store: Path,
    progress: Progress,
) -> ModelPackage:
    """A package, alone in ``store``; arguments as ``pinning.pin`` has them.

    Raises:
        ModelStoreError: packaging refuses; says why.
    """
    with tempfile.TemporaryDirectory(prefix="millrace-source-") as cache:
        path, origin = Path(source), ""
        if names_registry(source):
            fetched = fetch_model_folder(source, registry, Path(cache))
            path, origin = fetched.path, fetched.origin
        request = package_request(path, name, labels, parity_images, packaging, origin)
        return package(request, store, progress)


def package_in(store: Path) -> ModelPackage:
    """The package that ``make_package`` left in ``store``.

    Raises:
        PipelineError: there is not exactly one.
        PackageError: it is damaged.
    """
    found = sorted(store.glob(f"*/*/{MANIFEST_FILE}"))
    if len(found) != 1:
        raise PipelineError(f"{store}: holds {len(found)} packages instead of one")
    return load_package(found[0].parent)


def facts(made: ModelPackage) -> dict[str, str]:
    """What people see of a package beside its files."""
    manifest = made.manifest
    return {
        "name": made.name,
        "classes": str(manifest.classes),
        "input": f"{manifest.input.height}x{manifest.input.width}",
        "variants": ", ".join(each.file for each in manifest.variants),
        "sha256": sha256_of(made.path / MANIFEST_FILE),
        "source": manifest.provenance.source,
    }
