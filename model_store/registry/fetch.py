"""What a registry holds becomes a folder on this machine: verified, cached, there at once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from model_store.errors import (
    ModelStoreError,
    NotRegisteredError,
    PackageError,
    RegistryDownError,
    RegistryError,
)
from model_store.package import (
    MANIFEST_FILE,
    Manifest,
    ModelPackage,
    load_package,
    read_manifest,
    write_manifest,
)
from model_store.registry.address import registry_uri
from model_store.registry.artifacts import Artifacts, download_folder, open_artifacts
from model_store.registry.cache import Cache, link
from model_store.registry.reference import ModelReference, parse, parse_model
from model_store.registry.registering import NAME, PACKAGE_FOLDER
from model_store.registry.versions import RegisteredVersion, Registry

DEFAULT_CACHE = Path("var/cache")
MLMODEL_FILE = "MLmodel"
LARGEST_MANIFEST_BYTES = 8 << 20

Progress = Callable[[str, int, int], None]  # what, how much of it, of how much


def unwatched(_what: str, _done: int, _total: int) -> None:
    """Progress that nobody watches."""


def fetch_package(
    found: RegisteredVersion, registry: Registry, cache: Cache, progress: Progress = unwatched
) -> ModelPackage:
    """The package of a registered version, in the cache.

    It bears the registry's name and number, whatever it was called where it was packaged.

    Raises:
        RegistryDownError: the registry does not answer, or no longer.
        RegistryError: it is no package, not what its hashes say, or cannot be written here.
    """
    artifacts = open_artifacts(registry.source(found), registry.uri)
    sha256 = found.sha256 or _hash_of_manifest(found, artifacts)
    with cache.writing(), cache.staging() as staged:
        manifest = _manifest(found, sha256, artifacts, cache, staged)
        final = cache.folder / "packages" / sha256[:16] / manifest.name / str(manifest.version)
        with contextlib.suppress(PackageError):
            return load_package(final)
        for done, (file, content) in enumerate(manifest.files.items()):
            progress(f"fetching {found.reference}", done, len(manifest.files))
            link(cache.file(content, artifacts, f"{PACKAGE_FOLDER}/{file}"), staged / file)
        progress(f"fetching {found.reference}", len(manifest.files), len(manifest.files))
        cache.publish(staged, final)
    return load_package(final)


def read_registered_manifest(found: RegisteredVersion, registry: Registry) -> Manifest:
    """The manifest of a registered version alone, with the registry's name and number.

    Raises:
        RegistryError: as ``fetch_package``.
    """
    artifacts = open_artifacts(registry.source(found), registry.uri)
    with tempfile.TemporaryDirectory(prefix="millrace-show-") as folder:
        cache = Cache(Path(folder))
        sha256 = found.sha256 or _hash_of_manifest(found, artifacts)
        with cache.staging() as staged:
            return _manifest(found, sha256, artifacts, cache, staged)


def fetch_model_folder(uri: str, registry: str = "", cache: Path = DEFAULT_CACHE) -> Path:
    """The folder of any MLflow model, with its ``MLmodel``: a version's, or a run's artifact.

    Args:
        uri: ``models:/NAME/VERSION``, ``models:/NAME@ALIAS`` or ``runs:/ID/PATH``.
        registry: tracking URI; empty as in ``registry_uri``.
        cache: where to put it. MLflow states no hashes, so it is fetched anew each time.

    Raises:
        RegistryError: there is none, it is no MLflow model, or the registry does not answer.
    """
    source_registry = Registry(registry_uri(registry))
    reference = parse(uri)
    if isinstance(reference, ModelReference):
        source = source_registry.source(source_registry.find(reference))
    else:
        source = source_registry.run_source(reference)
    key = hashlib.sha256(f"{source_registry.uri}\n{source}".encode()).hexdigest()[:16]
    store = Cache(cache)
    with store.writing(), store.staging() as staged:
        download_folder(source, source_registry.uri, staged)
        if not (staged / MLMODEL_FILE).is_file():
            raise RegistryError(f"{uri}: is no MLflow model ({MLMODEL_FILE} is missing)")
        final = cache / "models" / key
        store.publish(staged, final)
    return final


def _hash_of_manifest(found: RegisteredVersion, artifacts: Artifacts) -> str:
    """The sha256 of ``model.yaml`` as it is, for a version that nobody tagged with it."""
    digest, size = hashlib.sha256(), 0
    with _is_package(found), artifacts.read(f"{PACKAGE_FOLDER}/{MANIFEST_FILE}", 0) as stream:
        for block in stream.blocks:
            digest.update(block)
            size += len(block)
            if size > LARGEST_MANIFEST_BYTES:
                raise RegistryError(f"{found.reference}: {MANIFEST_FILE} is too large")
    return digest.hexdigest()


def _manifest(
    found: RegisteredVersion, sha256: str, artifacts: Artifacts, cache: Cache, staged: Path
) -> Manifest:
    """What the version's ``model.yaml`` says; one with its registered name is in ``staged``."""
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise RegistryError(f"{found.reference}: its tag says no sha256: {sha256[:80]!r}")
    with _is_package(found):
        file = cache.file(sha256, artifacts, f"{PACKAGE_FOLDER}/{MANIFEST_FILE}")
    # A copy, since it is about to be written to.
    (staged / MANIFEST_FILE).write_bytes(file.read_bytes())
    try:
        manifest = read_manifest(staged)
    except PackageError as error:
        told = str(error).replace(f"{staged}/", "")
        raise RegistryError(f"{found.reference}: {told}") from error
    name = found.name if NAME.fullmatch(found.name) else manifest.name
    named = manifest.model_copy(update={"name": name, "version": int(found.version)})
    write_manifest(staged, named)
    return named


@contextlib.contextmanager
def _is_package(found: RegisteredVersion) -> Iterator[None]:
    try:
        yield
    except NotRegisteredError as error:
        raise NotRegisteredError(
            f"{found.reference} holds no Millrace package: {error}; "
            f"`millrace package {found.reference}` makes one of an ONNX or PyTorch model"
        ) from error


def main() -> None:
    """``python -m model_store.registry.fetch URI REGISTRY CACHE``: for those who keep MLflow out.

    Prints one JSON object: ``path``, or ``error`` and whether the registry was ``down``.
    """
    uri, source, folder = sys.argv[1:]
    told: dict[str, object]
    try:
        registry = Registry(registry_uri(source))
        package = fetch_package(registry.find(parse_model(uri)), registry, Cache(Path(folder)))
        told = {"path": str(package.path)}
    except ModelStoreError as error:
        told = {"error": str(error), "down": isinstance(error, RegistryDownError)}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
