"""A model package on disk: how it is read, verified and written.

A package is data. Reading one parses YAML and hashes files; nothing in it is ever executed or
unpickled here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pydantic
import yaml

from model_store.errors import PackageError, one_line
from model_store.manifest import (
    GOLDEN_FOLDER,
    LABELS_FILE,
    MANIFEST_FILE,
    Calibration,
    Comparison,
    Dtype,
    GoldenAnswer,
    GoldenImage,
    ImageInput,
    Layout,
    Manifest,
    Measured,
    Name,
    OriginalInput,
    OriginalOutput,
    Parity,
    Precision,
    Proof,
    Provenance,
    Quantisation,
    Resize,
    Triple,
    Variant,
)
from model_store.plain_yaml import safe_load

__all__ = [
    "GOLDEN_FOLDER",
    "LABELS_FILE",
    "MANIFEST_FILE",
    "Calibration",
    "Comparison",
    "Dtype",
    "GoldenAnswer",
    "GoldenImage",
    "ImageInput",
    "Layout",
    "Manifest",
    "Measured",
    "ModelPackage",
    "Name",
    "OriginalInput",
    "OriginalOutput",
    "Parity",
    "Precision",
    "Proof",
    "Provenance",
    "Quantisation",
    "Resize",
    "Triple",
    "Variant",
    "load_package",
    "read_manifest",
    "sha256_of",
    "write_manifest",
]


@dataclass(frozen=True, slots=True)
class ModelPackage:
    """A package whose files have been checked against its manifest."""

    path: Path
    manifest: Manifest
    labels: tuple[str, ...]

    @property
    def name(self) -> str:
        """The model's name, as in URLs."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """The version as the protocols carry it: a string."""
        return str(self.manifest.version)

    @property
    def digest(self) -> str:
        """Hex sha256 of the manifest, which has that of every file: which package this is."""
        return hashlib.sha256(self.manifest.model_dump_json().encode()).hexdigest()


def load_package(path: Path) -> ModelPackage:
    """Read and verify the package at ``path``.

    Every file named in the manifest must exist inside the package with the stated sha256.

    Raises:
        PackageError: with the file and the reason.
    """
    manifest = read_manifest(path)
    try:
        for file, expected in manifest.files.items():
            _check_file(path, file, expected)
        labels = tuple((path / LABELS_FILE).read_text(encoding="utf-8").splitlines())
    except OSError as error:
        raise PackageError(f"{path}: cannot be read: {one_line(error)}") from error
    except UnicodeDecodeError:
        raise PackageError(f"{path / LABELS_FILE}: labels must be UTF-8 text") from None
    if len(labels) != manifest.classes:
        raise PackageError(
            f"{path / LABELS_FILE}: {len(labels)} labels for {manifest.classes} classes"
        )
    return ModelPackage(path=path, manifest=manifest, labels=labels)


def _check_file(path: Path, file: str, sha256: str) -> None:
    target = path / file
    if not target.resolve().is_relative_to(path.resolve()):
        raise PackageError(f"{target}: leads outside the package")
    if not target.is_file():
        raise PackageError(f"{target}: missing, though {MANIFEST_FILE} lists it")
    if sha256_of(target) != sha256:
        raise PackageError(f"{target}: changed since packaging (sha256 differs)")


def read_manifest(path: Path) -> Manifest:
    """Parse ``model.yaml`` of the package at ``path`` without touching its other files.

    Raises:
        PackageError: with the file and the reason, in one line.
    """
    file = path / MANIFEST_FILE
    try:
        content = safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PackageError(f"{path}: no model package here ({MANIFEST_FILE} is missing)") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PackageError(f"{file}: cannot be read: {one_line(error)}") from error
    try:
        return Manifest.model_validate(content)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "top level"
        told = " ".join(f"{where}: {first['msg']}".split())
        raise PackageError(f"{file}: {told}") from error


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write ``manifest`` as ``model.yaml`` into the folder ``path``."""
    plain = manifest.model_dump(mode="json", exclude_none=True)
    content = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
    (path / MANIFEST_FILE).write_text(content, encoding="utf-8")


def sha256_of(file: Path) -> str:
    """Hex sha256 of a file's content, read in blocks."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
