"""Versions of models on disk: ``<store>/<name>/<version>/``, and how they are found."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from model_store.errors import PackageError
from model_store.package import MANIFEST_FILE

NAME = re.compile(r"[a-z0-9]([-a-z0-9_.]{0,61}[a-z0-9])?")
VERSION = re.compile(r"[1-9][0-9]{0,8}")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:/", re.IGNORECASE)


@dataclass(frozen=True, slots=True, order=True)
class StoredPackage:
    """One version of one model in a store; its files are not read yet."""

    name: str
    version: int
    path: Path


def list_packages(store: Path) -> tuple[StoredPackage, ...]:
    """Every version of every model in ``store``, by name, oldest first; none if it is no folder."""
    if not store.is_dir():
        return ()
    names = (folder for folder in store.iterdir() if NAME.fullmatch(folder.name))
    return tuple(sorted(stored for folder in names for stored in _versions(folder)))


def _versions(folder: Path) -> list[StoredPackage]:
    if not folder.is_dir():
        return []
    return sorted(
        StoredPackage(folder.name, int(path.name), path)
        for path in folder.iterdir()
        if VERSION.fullmatch(path.name) and (path / MANIFEST_FILE).is_file()
    )


def resolve(reference: str, store: Path) -> Path:
    """The folder of the package that ``reference`` means.

    ``NAME`` is the newest version in ``store``, ``NAME/VERSION`` that one. Anything else is a
    path, or a ``file://`` URI, to a package folder or to a folder of versions (the newest).

    Raises:
        PackageError: naming what there is instead.
    """
    if _SCHEME.match(reference):
        return _at_path(_path_of_uri(reference), store)
    name, _, version = reference.partition("/")
    if NAME.fullmatch(name) and (not version or VERSION.fullmatch(version)):
        found = [s for s in _versions(store / name) if not version or str(s.version) == version]
        if found:
            return found[-1].path
    return _at_path(Path(reference), store)


def version_beside(package: Path, version: str) -> Path:
    """The folder of another version of the model whose package is at ``package``.

    Raises:
        PackageError: there is none; says which there are.
    """
    others = {str(stored.version): stored.path for stored in _versions(package.parent)}
    if version not in others:
        there = ", ".join(others) or "none"
        raise PackageError(f"no version {version!r} beside {package}; there: {there}")
    return others[version]


def _path_of_uri(uri: str) -> Path:
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise PackageError(f"{uri}: is no URI: {error}") from error
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise PackageError(f"{uri}: only file:// URIs, paths and names in the store are understood")
    return Path(unquote(parts.path))


def _at_path(path: Path, store: Path) -> Path:
    if (path / MANIFEST_FILE).is_file():
        return path
    versions = _versions(path)
    if versions:
        return versions[-1].path
    if path.exists():
        raise PackageError(f"{path}: no model package here ({MANIFEST_FILE} is missing)")
    raise PackageError(f"no model {str(path)!r}; {_what_exists(store)}")


def _what_exists(store: Path) -> str:
    names: dict[str, list[str]] = {}
    for stored in list_packages(store):
        names.setdefault(stored.name, []).append(str(stored.version))
    if not names:
        return f"the store {store} is empty: `millrace package` fills it"
    listed = ", ".join(f"{name} ({', '.join(versions)})" for name, versions in names.items())
    return f"the store {store} has {listed}"
