"""What a registry holds becomes a folder on this machine: verified, cached, there at once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from model_store.errors import (
    ModelStoreError,
    NotRegisteredError,
    PackageError,
    RegistryDownError,
    RegistryError,
    one_line,
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
    manifest = _manifest(found, sha256, artifacts, cache)
    final = cache.folder / "packages" / sha256[:16] / manifest.name / str(manifest.version)
    if cached := _cached(final, manifest):
        return cached
    with cache.writing(), cache.staging() as staged:
        write_manifest(staged, manifest)
        for done, (file, content) in enumerate(manifest.files.items()):
            progress(f"fetching {found.reference}", done, len(manifest.files))
            link(cache.file(content, artifacts, f"{PACKAGE_FOLDER}/{file}"), staged / file)
        progress(f"fetching {found.reference}", len(manifest.files), len(manifest.files))
        with cache.alone(final):
            if cached := _cached(final, manifest):  # somebody else was here meanwhile, and reads it
                return cached
            cache.publish(staged, final)
            package = load_package(final)
    if package.manifest != manifest:
        raise RegistryError(f"{final}: somebody else writes there; give each its own cache")
    return package


def _cached(folder: Path, manifest: Manifest) -> ModelPackage | None:
    """The package in ``folder`` if it is whole, and the very one that was registered."""
    try:
        package = load_package(folder)
    except (PackageError, OSError):
        return None
    return package if package.manifest == manifest else None


def read_registered_manifest(found: RegisteredVersion, registry: Registry) -> Manifest:
    """The manifest of a registered version alone, with the registry's name and number.

    Raises:
        RegistryError: as ``fetch_package``.
    """
    artifacts = open_artifacts(registry.source(found), registry.uri)
    with tempfile.TemporaryDirectory(prefix="millrace-show-") as folder:
        cache = Cache(Path(folder))
        sha256 = found.sha256 or _hash_of_manifest(found, artifacts)
        return _manifest(found, sha256, artifacts, cache)


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """An MLflow model on this machine, and where it came from: version and run, no alias."""

    path: Path
    origin: str


def fetch_model_folder(uri: str, registry: str, cache: Path) -> ModelFolder:
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
        found = source_registry.find(reference)
        source = source_registry.source(found)
        origin = f"{found.reference}" + (f" of runs:/{found.run}" if found.run else "")
    else:
        source, origin = source_registry.run_source(reference), str(reference)
    key = hashlib.sha256(f"{source_registry.uri}\n{source}".encode()).hexdigest()[:16]
    store = Cache(cache)
    with store.writing(), store.staging() as staged:
        download_folder(source, source_registry.uri, staged)
        if not (staged / MLMODEL_FILE).is_file():
            raise RegistryError(f"{uri}: is no MLflow model ({MLMODEL_FILE} is missing)")
        final = cache / "models" / key
        store.publish(staged, final)
    return ModelFolder(final, origin)


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
    found: RegisteredVersion, sha256: str, artifacts: Artifacts, cache: Cache
) -> Manifest:
    """What the version's ``model.yaml`` says, with its registered name and number."""
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise RegistryError(f"{found.reference}: its tag says no sha256: {sha256[:80]!r}")
    with _is_package(found):
        path = f"{PACKAGE_FOLDER}/{MANIFEST_FILE}"
        file = cache.file(sha256, artifacts, path, LARGEST_MANIFEST_BYTES)
    manifest = _parsed(found, file)
    if any(PurePosixPath(each) == PurePosixPath(MANIFEST_FILE) for each in manifest.files):
        raise RegistryError(f"{found.reference}: {MANIFEST_FILE} lists itself among its files")
    name = found.name if NAME.fullmatch(found.name) else manifest.name
    return manifest.model_copy(update={"name": name, "version": int(found.version)})


def _parsed(found: RegisteredVersion, file: Path) -> Manifest:
    # Where temporary files are, since a cache that has everything need not be written to.
    try:
        with tempfile.TemporaryDirectory(prefix="millrace-manifest-") as folder:
            shutil.copyfile(file, Path(folder) / MANIFEST_FILE)
            return read_manifest(Path(folder))
    except PackageError as error:
        told = str(error).replace(f"{folder}/", "")
        raise RegistryError(f"{found.reference}: {told}") from error
    except OSError as error:
        raise RegistryError(f"{found.reference}: {MANIFEST_FILE}: {one_line(error)}") from error


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
    # A pod that cannot read one version may have another one to start with.
    except Exception as error:  # noqa: BLE001
        told = {"error": f"{uri}: {type(error).__name__}: {one_line(error)[:200]}", "down": False}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
