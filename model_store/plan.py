"""What packaging would do: everything read and checked, nothing written."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pydantic

from model_store.errors import PackageError
from model_store.examination import Examined, examine
from model_store.original import Progress
from model_store.package import Name
from model_store.request import PackageRequest, VariantName, check_path
from model_store.store import list_packages
from model_store.termination import cleared_at_sigterm
from model_store.variants import first_precision, image_sets, wanted


@dataclass(frozen=True, slots=True)
class Plan:
    """What a request would become.

    ``calibration`` and ``held_out`` are the numbers of images that variants are proven with.
    """

    request: PackageRequest
    examined: Examined
    variants: tuple[VariantName, ...]
    calibration: int
    held_out: int
    path: Path


def plan(request: PackageRequest, store: Path, progress: Progress) -> Plan:
    """Check ``request`` as far as it can be without making the package.

    The network is read and run on the parity images; whether what is made of it answers alike, and
    keeps the bound, is seen only when it is made.

    Raises:
        SourceError: the network, labels, images or settings do not fit.
        PackageError: the store cannot take it.
    """
    check_path(store)
    path = _next_version(store, request.name)
    _check_writable(path)
    with cleared_at_sigterm(), tempfile.TemporaryDirectory() as work:
        examined = examine(request, Path(work), progress)
    first = first_precision(examined)
    more = wanted(request, examined.source, first)
    calibration = held_out = 0
    if more:
        sets = image_sets(request, examined, progress)
        calibration, held_out = len(sets.calibration.files), len(sets.held_out.files)
    return Plan(request, examined, (first, *more), calibration, held_out, path)


def _next_version(store: Path, name: str) -> Path:
    try:
        pydantic.TypeAdapter(Name).validate_python(name)
    except pydantic.ValidationError:
        raise PackageError(f"{name!r} is no model name: a-z 0-9 - _ . and 63 at most") from None
    there = [stored.version for stored in list_packages(store) if stored.name == name]
    return store / name / str(max(there, default=0) + 1)


def _check_writable(path: Path) -> None:
    there = next(folder for folder in path.parents if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise PackageError(f"{path.parent}: cannot be written: {there} does not allow it")
