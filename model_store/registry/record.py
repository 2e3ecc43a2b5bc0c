"""What was served last of each URI, so that a pod can start while its registry is away."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from model_store.errors import RegistryError, one_line
from model_store.package import ModelPackage
from model_store.registry.address import shown


def remember(cache: Path, uri: str, registry: str, package: ModelPackage) -> None:
    """Note that ``package``, which lies in ``cache``, is what ``uri`` meant when it was served.

    Raises:
        RegistryError: it cannot be written.
    """
    file = _file(cache, uri, registry)
    new = file.with_suffix(f".{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        content = {"uri": uri, "path": os.path.relpath(package.path, cache)}
        new.write_text(json.dumps(content), encoding="utf-8")
        new.replace(file)
    except OSError as error:
        raise RegistryError(f"{file}: cannot be written: {error.strerror or error}") from error


def recall(cache: Path, uri: str, registry: str) -> Path | None:
    """The folder of the package that was served last as ``uri``; None if none was.

    Raises:
        RegistryError: the note cannot be read.
    """
    file = _file(cache, uri, registry)
    try:
        path = cache / json.loads(file.read_text(encoding="utf-8"))["path"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RegistryError(f"{file}: cannot be read: {one_line(error)}") from error
    return path if path.is_dir() else None


def _file(cache: Path, uri: str, registry: str) -> Path:
    # Without the password, which may have changed meanwhile.
    key = hashlib.sha256(f"{shown(registry)}\n{uri}".encode()).hexdigest()[:32]
    return cache / "served" / f"{key}.json"
